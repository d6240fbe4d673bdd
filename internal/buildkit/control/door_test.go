package control

import (
	"net"
	"path/filepath"
	"testing"
)

func TestDoor(t *testing.T) {
	t.Parallel()
	d := &Door{Socket: filepath.Join(t.TempDir(), "s")}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, run := range []string{"ca1", "", "ca1"} {
		c, err := d.Dial(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		other, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if got := RunOf(other); got != run {
			t.Errorf("dialled for run %q, accepted for %q", run, got)
		}
	}
}
