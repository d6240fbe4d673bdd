package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gopkg.in/yaml.v3"
)

// A table is a result for the eye.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print prints a result as the flag -o says: a record or a list for programs,
// or its table.
func (o *output) print(s *session, result any, t table) error {
	switch *o {
	case "json":
		flat, err := flatten(result)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(s.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(flat)
	case "yaml":
		flat, err := flatten(result)
		if err != nil {
			return err
		}
		enc := yaml.NewEncoder(s.stdout)
		enc.SetIndent(2)
		return enc.Encode(flat)
	case "tsv":
		for _, row := range t.rows {
			if _, err := fmt.Fprintln(s.stdout, strings.Join(row, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	return t.write(s.stdout)
}

func (t *table) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// flatten puts what is in a resource's properties beside them: az prints the
// one, and the API speaks the other.
func flatten(result any) (any, error) {
	b, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return flat(v), nil
}

func flat(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = flat(v[i])
		}
	case map[string]any:
		properties, _ := v["properties"].(map[string]any)
		if r, ok := properties["runResult"]; ok { // a resource in a resource
			properties["runResult"] = flat(r)
		}
		for key, value := range properties {
			if _, ok := v[key]; !ok {
				v[key] = value
			}
		}
	}
	return v
}
