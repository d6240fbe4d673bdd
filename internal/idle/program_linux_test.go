package idle

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestReadOnly(t *testing.T) {
	t.Parallel()
	const exe = "/usr/bin/a crd"
	for line, want := range map[string]bool{
		"00400000-025f6000 r-xp 00000000 fe:00 123 /usr/bin/a crd":           true,
		"025f6000-04abc000 r--p 021f6000 fe:00 123    /usr/bin/a crd":        true,
		"04abc000-04bd9000 rw-p 046bc000 fe:00 123 /usr/bin/a crd":           false, // written to
		"7f0000000000-7f0000001000 r-xp 00000000 fe:00 9 /lib/libc.so.6":     false,
		"c000000000-c000400000 rw-p 00000000 00:00 0":                        false,
		"7ffd1000-7ffd2000 r-xp 00000000 00:00 0 [vdso]":                     false,
		"00400000-025f6000 r-xp 00000000 fe:00 123 /usr/bin/a crd (deleted)": false,
		"nonsense": false,
	} {
		if _, size, ok := readOnly(line, exe); ok != want || ok && size == 0 {
			t.Errorf("readOnly(%q) = %d, %v; want %v", line, size, ok, want)
		}
	}
}

// TestDropProgram goes on after its code was dropped, and has become smaller.
func TestDropProgram(t *testing.T) {
	before := filePages(t)
	dropProgram()
	if after := filePages(t); after >= before {
		t.Errorf("%d kB of files are resident, and were %d before", after, before)
	}
}

func filePages(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
