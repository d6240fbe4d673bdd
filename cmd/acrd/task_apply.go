package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"acrd/internal/api"

	"gopkg.in/yaml.v3"
)

// maxApplied bounds a file of tasks.
const maxApplied = 8 << 20

func applyTasks(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task apply -f FILE [FLAGS]", `Make tasks what a file says they are. Doing it again changes nothing.

FILE is JSON or YAML: a task as the API has it ('acrd task show -o json') or as
'az acr task show' prints it, a list of tasks, several YAML documents, or an ARM
template; - is standard input. A task that is not in the file stays as it is.
Secrets that the file leaves out stay too.`)
	file := fs.StringP("file", "f", "", "file of tasks; - is standard input")
	need(fs, "file")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	docs, err := readTasks(s, *file)
	if err != nil {
		return &usageError{err.Error()}
	}
	return f.with(ctx, s, func(c *connection) error {
		done := []body{}
		list := table{head: []string{"NAME", "RESULT"}}
		for _, d := range docs {
			result, err := d.apply(ctx, c)
			if err != nil {
				return errors.Join(f.output.print(s, done, list), fmt.Errorf("task %s: %w", d.name, err))
			}
			done = append(done, body{"name": d.name, "result": result})
			list.add(d.name, result)
		}
		c.remind(s)
		return f.output.print(s, done, list)
	})
}

// A document is a task in a file.
type document struct {
	name string
	body map[string]any
}

func (d *document) apply(ctx context.Context, c *connection) (string, error) {
	old, err := c.Task(ctx, d.name)
	if err != nil && !notFound(err) {
		return "", err
	}
	t, err := c.PutTask(ctx, d.name, d.body)
	switch {
	case err != nil:
		return "", err
	case old.Name == "":
		return "created", nil
	case unchanged(old, t):
		return "unchanged", nil
	}
	return "configured", nil
}

func unchanged(old, now *api.Task) bool { return old.Properties.Updated.Equal(now.Properties.Updated) }

func readTasks(s *session, file string) ([]document, error) {
	var src []byte
	var err error
	if file == "-" {
		src, err = io.ReadAll(io.LimitReader(s.stdin, maxApplied))
	} else {
		src, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	var docs []document
	for dec := yaml.NewDecoder(bytes.NewReader(src)); ; { // JSON is YAML, too
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if docs, err = collect(docs, v); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: there is no task in it", file)
	}
	return docs, nil
}

const taskType = "Microsoft.ContainerRegistry/registries/tasks"

// collect finds the tasks in a document: itself, those of a list, or those of
// a template.
func collect(docs []document, v any) ([]document, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return docs, nil
	case []any:
		for _, one := range v {
			if docs, err = collect(docs, one); err != nil {
				return nil, err
			}
		}
		return docs, nil
	case map[string]any:
		for _, key := range []string{"resources", "value"} {
			if list, ok := v[key].([]any); ok && v["properties"] == nil {
				return collect(docs, list)
			}
		}
		if kind, ok := v["type"].(string); ok && !strings.EqualFold(kind, taskType) && !strings.EqualFold(kind, "tasks") {
			return docs, nil // a template may have others
		}
		v = withProperties(v)
		name, _ := v["name"].(string)
		if name == "" || v["properties"] == nil {
			return nil, errors.New("a task has a name and properties, as in 'acrd task show -o json'")
		}
		if strings.HasPrefix(name, "[") {
			return nil, fmt.Errorf("%s: a template's expressions are for Azure: write the name itself", name)
		}
		return append(docs, document{path.Base(name), v}), nil // REGISTRY/TASK in templates
	}
	return nil, errors.New("it is not a task")
}

// withProperties brings a task that 'az acr task show' has printed, flat, into
// the form of the API.
func withProperties(task map[string]any) map[string]any {
	if task["properties"] != nil || task["step"] == nil {
		return task
	}
	properties := map[string]any{}
	for _, key := range []string{"agentConfiguration", "agentPoolName", "credentials", "isSystemTask", "logTemplate", "platform", "status", "step", "timeout", "trigger"} {
		if v := task[key]; v != nil {
			properties[key] = v
		}
	}
	api := map[string]any{"properties": properties}
	for _, key := range []string{"name", "location", "tags", "identity"} {
		if v := task[key]; v != nil {
			api[key] = v
		}
	}
	return api
}
