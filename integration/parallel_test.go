package integration

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyRuns has twenty runs of five steps at a time. Each has a service of
// the same name, and must find its own.
func TestManyRuns(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	before := d.idle()
	const task = `version: v1.1.0
steps:
  - id: web
    detach: true
    cmd: $Registry/base/busybox:1 sh -c 'echo {{.Run.ID}} > /www/id; exec httpd -f -p 80 -h /www'
  - {id: first, cmd: "$Registry/base/busybox:1 sh -c 'i=0; until wget -qO id http://web/id; do i=$((i+1)); [ $i -gt 200 ] && exit 1; usleep 50000; done; test $(cat id) = {{.Run.ID}}'"}
  - {id: second, when: [first], cmd: "$Registry/base/busybox:1 sh -c 'test $(wget -qO- http://web/id) = {{.Run.ID}} && echo right >> marks'"}
  - {id: third, when: [first], cmd: "$Registry/base/busybox:1 sh -c 'test $(cat id) = {{.Run.ID}} && echo right >> marks'"}
  - {id: last, when: [second, third], cmd: "$Registry/base/busybox:1 sh -c 'test $(wc -l < marks) = 2 && echo all is right with {{.Run.ID}}'"}
`
	dir := d.folder(map[string]string{"acb.yaml": task})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if r := d.acrd(dir, "run", "."); r.code != 0 || !strings.Contains(r.stdout, "all is right with ") {
				t.Errorf("exit code %d:\n%s", r.code, r)
			}
		})
	}
	all.Wait()
	d.quiet(before, 10*time.Second)
}
