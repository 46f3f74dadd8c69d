// Command incumbent returns the verdicts of Cilium's own policy library on worlds, one JSON document a line.
//
// A line is the `spec` of a PolicyTest, as `nexin test` reads it. The answer is a line too: which of its documents the
// library refuses and why, and the verdict on each probe.
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

// clusterName is the cluster's name in labels; PolicyTests have one cluster only.
const clusterName = "default"

// longestLine exceeds the line of every world.
const longestLine = 64 << 20

// answer is the reply to one world.
type answer struct {
	// Error says why the world could not be read at all.
	Error string `json:"error,omitempty"`
	// Refused has the reason for each refused document of the world, by its index.
	Refused map[int]string `json:"refused,omitempty"`
	// Verdicts has the verdict on each probe; empty where documents are refused.
	Verdicts []verdict `json:"verdicts,omitempty"`
}

// verdict has the verdicts of both ends on one probe.
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

// configure sets the agent's options as on Kubernetes, with every option on that affects policy.
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

// quiet drops the library's log: the library warns of much that worlds contain on purpose.
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

// of returns the answer to one world. A panic of the library is an answer too: its world shows a bug.
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
