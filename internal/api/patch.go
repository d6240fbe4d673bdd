package api

import (
	"encoding/json"
	"slices"

	"acrd/runner"
)

// patched is the JSON of a task after a PATCH. As in ARM, what the patch does
// not name stays, null takes away, objects are merged and lists are replaced;
// but triggers are merged by their names, so that a patch can speak of one of
// several. A step of another type replaces the whole step.
func patched(t *runner.Task, patch map[string]any) ([]byte, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if now, was := at(patch, "properties", "step", "type"), at(doc, "properties", "step", "type"); now != nil && now != was {
		doc["properties"].(map[string]any)["step"] = map[string]any{}
	}
	merge(doc, patch)
	return json.Marshal(doc)
}

func at(doc map[string]any, path ...string) any {
	var v any = doc
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func merge(doc, patch map[string]any) {
	for key, value := range patch {
		switch v := value.(type) {
		case nil:
			delete(doc, key)
		case map[string]any:
			inner, ok := doc[key].(map[string]any)
			if !ok {
				inner = map[string]any{}
			}
			merge(inner, v)
			doc[key] = inner
		case []any:
			if key == "timerTriggers" || key == "sourceTriggers" {
				old, _ := doc[key].([]any)
				v = mergeByName(old, v)
			}
			doc[key] = v
		default:
			doc[key] = v
		}
	}
}

func mergeByName(old, patch []any) []any {
	all := slices.Clone(old)
	for _, p := range patch {
		one, ok := p.(map[string]any)
		if !ok {
			all = append(all, p)
			continue
		}
		i := slices.IndexFunc(all, func(o any) bool {
			m, ok := o.(map[string]any)
			return ok && m["name"] == one["name"]
		})
		if i < 0 {
			fresh := map[string]any{}
			merge(fresh, one)
			all = append(all, fresh)
			continue
		}
		merge(all[i].(map[string]any), one)
	}
	return all
}
