package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const planVectors = "../../shared/vectors"

// TestPlanVectors holds the plans of acrd run --dry-run to those that acb made
// of the same files. The script that compares them is the vectors' own.
func TestPlanVectors(t *testing.T) {
	need(t, "python3")
	script, err := filepath.Abs(filepath.Join(planVectors, "check_plan.py"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(script); err != nil {
		t.Skip("no vectors here")
	}
	out, err := exec.CommandContext(t.Context(), "python3", script, filepath.Join(built, "acrd"), filepath.Join(filepath.Dir(script), "exec")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 failed") {
		t.Errorf("%v\n%s", err, out)
	}
}
