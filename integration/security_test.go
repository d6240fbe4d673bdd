package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSecurityModel holds docs/security-model.md to the tests that there are,
// and to have a row for every rule.
func TestSecurityModel(t *testing.T) {
	b, err := os.ReadFile("../docs/security-model.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	names := regexp.MustCompile("`([a-z][a-z/]*)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(page, -1)
	if len(names) < 150 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, n := range names {
		if !hasTest(t, n[1], n[2]) {
			t.Errorf("there is no %s in %s", n[2], n[1])
		}
	}
	for kind, last := range map[string]int{"C": 32, "R": 25} {
		for i := range last {
			if row := "\n| " + kind + strconv.Itoa(i+1) + " | "; strings.Count(page, row) != 1 {
				t.Errorf("%s%d has %d rows", kind, i+1, strings.Count(page, row))
			}
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
