package steps_test

import (
	"context"
	"io"
	"testing"

	"acrd/steps"
	"acrd/steps/stepstest"
)

// TestCacheRef holds "cache: enabled" to where acb keeps the cache of a step.
func TestCacheRef(t *testing.T) {
	for name, tt := range map[string]struct{ step, task, want string }{
		"first tag with a registry": {"{id: web, build: -t app -t r.example.com/team/app:v1 ., cache: enabled}", "nightly", "r.example.com/team/app:cache_nightly_web"},
		"the run's registry":        {"{id: web, build: -t team/app:v1 -t other ., cache: enabled}", "nightly", "localhost:5000/team/app:cache_nightly_web"},
		"no task":                   {"{id: web, build: -t app ., cache: ENABLED}", "", "localhost:5000/app:cache_quickrun_web"},
		"a registry with a port":    {"{id: web, build: -t localhost:5901/app ., cache: enabled}", "", "localhost:5901/app:cache_quickrun_web"},
		"an id that is not a tag":   {"{id: web/ü, build: -t app ., cache: enabled}", "", "localhost:5000/app:cache_quickrun_web--"},
		"no tag":                    {"{id: web, build: ., cache: enabled}", "", ""},
		"disabled":                  {"{id: web, build: -t app ., cache: disabled}", "", ""},
		"not asked for":             {"{id: web, build: -t app .}", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := "no build"
			env := &steps.Env{
				Engine: &stepstest.Fake{BuildFunc: func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
					got = op.CacheRef
					return &steps.Image{}, nil
				}},
				Notice: func(string, ...any) {}, Output: io.Discard, Registry: "localhost:5000", Task: tt.task,
			}
			f := parse(t, "steps:\n  - "+tt.step+"\n")
			if _, err := f.Steps[0].Run(t.Context(), env); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("CacheRef of %s is %q, want %q", tt.step, got, tt.want)
			}
		})
	}
}
