package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"acrd/triggers"
)

// Find lists the newest runs that a $filter is for, at most top.
func (c *Client) Find(ctx context.Context, filter string, top int) ([]*Run, error) {
	q := url.Values{"$top": {strconv.Itoa(top)}}
	if filter != "" {
		q.Set("$filter", filter)
	}
	return pages[*Run](ctx, c, "/runs?"+q.Encode())
}

// Rerun queues a run with the same inputs as an earlier one.
func (c *Client) Rerun(ctx context.Context, id string) (*Run, error) {
	var r Run
	return &r, c.call(ctx, http.MethodPost, ourRoot+"/runs/"+url.PathEscape(id)+"/rerun", nil, &r)
}

// Archive says whether a run is kept beyond the retention.
func (c *Client) Archive(ctx context.Context, id string, archived bool) (*Run, error) {
	var r Run
	return &r, c.call(ctx, http.MethodPatch, ourRoot+"/runs/"+url.PathEscape(id), map[string]bool{"isArchiveEnabled": archived}, &r)
}

// Tasks lists all tasks.
func (c *Client) Tasks(ctx context.Context) ([]*Task, error) { return pages[*Task](ctx, c, "/tasks") }

// Task looks up a task.
func (c *Client) Task(ctx context.Context, name string) (*Task, error) {
	var t Task
	return &t, c.call(ctx, http.MethodGet, ourRoot+"/tasks/"+url.PathEscape(name), nil, &t)
}

// PutTask creates a task or replaces it. The body is the resource as JSON has
// it: a Task would not do, for it has no secrets.
func (c *Client) PutTask(ctx context.Context, name string, body any) (*Task, error) {
	var t Task
	return &t, c.call(ctx, http.MethodPut, ourRoot+"/tasks/"+url.PathEscape(name), body, &t)
}

// PatchTask changes what the body names.
func (c *Client) PatchTask(ctx context.Context, name string, body any) (*Task, error) {
	var t Task
	return &t, c.call(ctx, http.MethodPatch, ourRoot+"/tasks/"+url.PathEscape(name), body, &t)
}

// DeleteTask removes a task.
func (c *Client) DeleteTask(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, ourRoot+"/tasks/"+url.PathEscape(name), nil, nil)
}

// Why explains what starts a task.
func (c *Client) Why(ctx context.Context, name string) (*triggers.Explanation, error) {
	var x triggers.Explanation
	return &x, c.call(ctx, http.MethodGet, ourRoot+"/tasks/"+url.PathEscape(name)+"/why", nil, &x)
}

// TaskGraph is which tasks build on images of which.
func (c *Client) TaskGraph(ctx context.Context) (*triggers.Picture, error) {
	var p triggers.Picture
	return &p, c.call(ctx, http.MethodGet, ourRoot+"/taskGraph", nil, &p)
}

// Approve lets a task run for the commit of a pull request from a fork.
func (c *Client) Approve(ctx context.Context, task, commit string) error {
	return c.call(ctx, http.MethodPost, ourRoot+"/tasks/"+url.PathEscape(task)+"/approve", map[string]string{"commit": commit}, nil)
}

// TaskRuns lists all task runs.
func (c *Client) TaskRuns(ctx context.Context) ([]*TaskRun, error) {
	return pages[*TaskRun](ctx, c, "/taskRuns")
}

// TaskRun looks up a task run.
func (c *Client) TaskRun(ctx context.Context, name string) (*TaskRun, error) {
	var t TaskRun
	return &t, c.call(ctx, http.MethodGet, ourRoot+"/taskRuns/"+url.PathEscape(name), nil, &t)
}

// DeleteTaskRun removes a task run.
func (c *Client) DeleteTaskRun(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, ourRoot+"/taskRuns/"+url.PathEscape(name), nil, nil)
}

// Digest asks the registry of the daemon for the digest of repository:tag.
func (c *Client) Digest(ctx context.Context, image string) (string, error) {
	at := strings.LastIndexByte(image, ':')
	repository, tag := image, "latest"
	if at > strings.LastIndexByte(image, '/') {
		repository, tag = image[:at], image[at+1:]
	}
	resp, err := c.send(ctx, http.MethodHead, "/v2/"+repository+"/manifests/"+url.PathEscape(tag), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest"), nil
}

// pages reads a list to its end. The links in it are for whoever comes over
// TCP; only what they say about the page counts.
func pages[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	all := []T{}
	for path != "" {
		var p page[T]
		if err := c.call(ctx, http.MethodGet, ourRoot+path, nil, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Value...)
		next, err := url.Parse(p.NextLink)
		if err != nil {
			return nil, err
		}
		base, _, _ := strings.Cut(path, "?")
		path = ""
		if p.NextLink != "" {
			path = base + "?" + next.RawQuery
		}
	}
	return all, nil
}
