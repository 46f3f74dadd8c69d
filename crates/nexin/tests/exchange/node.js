// Node's own server: it answers with what it read of body and trailers.
require('http').createServer((request, answer) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    console.log(request.method, request.url);
    answer.end(JSON.stringify([request.method, request.url, body, request.rawTrailers]));
  });
}).listen(80);
