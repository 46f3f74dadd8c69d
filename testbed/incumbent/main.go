// Command incumbent answers worlds, one JSON document a line, by Cilium's own policy library.
//
// A line is the `spec` of a PolicyTest, as `nexin test` reads it. The answer is a line too: which of its documents the
// library refuses and why, and what it says of each probe.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy/api"
)

// clusterName is what the cluster is called in labels; PolicyTests know one cluster only.
const clusterName = "default"

// longestLine is more than any world needs.
const longestLine = 64 << 20

// answer is what is said of one world.
type answer struct {
	// Error says why the world could not be read at all.
	Error string `json:"error,omitempty"`
	// Refused has the reason for each of the world's documents that is refused, by its place.
	Refused map[int]string `json:"refused,omitempty"`
	// Verdicts has one for each probe; none where documents are refused.
	Verdicts []verdict `json:"verdicts,omitempty"`
}

// verdict is what both ends say of one probe.
type verdict struct {
	Egress  said `json:"egress"`
	Ingress said `json:"ingress"`
}

func main() {
	configure()
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "incumbent:", err)
		os.Exit(1)
	}
}

// configure sets what is a setting of the agent there: what it is on Kubernetes, with everything on that bears on policy.
func configure() {
	option.Config.EnableIPv4 = true
	option.Config.EnableIPv6 = true
	option.Config.EnableL7Proxy = true
	option.Config.EnableHostFirewall = true
	option.Config.EnableNodeSelectorLabels = true
	option.Config.UnsafeDaemonConfigOption.AllowLocalhost = option.AllowLocalhostAlways
	option.Config.ClusterName = clusterName
	api.InitEntities(clusterName)
	slog.SetDefault(quiet)
	// Worlds are small and many.
	debug.SetGCPercent(400)
}

// quiet swallows what the library logs: it warns of much that worlds do on purpose.
var quiet = slog.New(slog.DiscardHandler)

func serve(from io.Reader, to io.Writer) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 1<<20), longestLine)
	out := bufio.NewWriter(to)
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		if err := encoder.Encode(of(lines.Bytes())); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

// of answers one world. A panic of the library is an answer too: the world that causes it is of interest.
func of(line []byte) (said answer) {
	defer func() {
		if cause := recover(); cause != nil {
			said = answer{Error: fmt.Sprintf("panic: %v\n%s", cause, debug.Stack())}
		}
	}()
	var world world
	if err := json.Unmarshal(line, &world); err != nil {
		return answer{Error: err.Error()}
	}
	return world.answer()
}
