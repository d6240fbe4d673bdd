// Package apitest drives a management API with Azure's own SDK for Go and
// nothing else: what works there works here, or the test says so. It runs
// against fakes in internal/api, and against a daemon in integration.
package apitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	acr "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"
)

// The names under which the test sees the daemon.
const (
	group    = "my-group"
	registry = "myregistry"
	canary   = "CANARY-5e6f"
)

// token is the owner's, in the place of one of Azure's.
type token string

// GetToken implements azcore.TokenCredential.
func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A desk is one client of the daemon.
type desk struct {
	*testing.T
	*acr.ClientFactory
	source string // of the uploaded archive
}

// Run drives the API at endpoint, http://HOST:PORT, with the owner's token.
func Run(t *testing.T, endpoint, owner string) {
	t.Helper()
	factory, err := acr.NewClientFactory("00000000-0000-0000-0000-000000000000", token(owner), clientOptions(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, ClientFactory: factory}
	for _, part := range []struct {
		name string
		test func(d *desk)
	}{
		{"Registry", (*desk).registry},
		{"Upload", (*desk).upload},
		{"Requests", (*desk).requests},
		{"Tasks", (*desk).tasks},
		{"Pages", (*desk).pages},
		{"Cancel", (*desk).cancel},
		{"TaskRuns", (*desk).taskRuns},
		{"Faults", (*desk).faults},
		{"Policies", (*desk).policies},
		{"Webhooks", (*desk).webhooks},
		{"WebhookFaults", (*desk).webhookFaults},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			d.T = t
			part.test(d)
		})
		d.T = t
		if !ok && part.name == "Upload" {
			return
		}
	}
}

// clientOptions lead Azure's SDK to endpoint.
func clientOptions(endpoint string) *arm.ClientOptions {
	// This is all that a user of the SDK has to change.
	return &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: "https://login.microsoftonline.com/",
				Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: endpoint, Audience: "acrd"}},
			},
			InsecureAllowCredentialWithHTTP: true, // on loopback
		},
		DisableRPRegistration: true,
	}
}

func must[T any](d *desk, v T, err error) T {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
	return v
}

// done polls a long-running operation to its end.
func done[T any](d *desk, p *runtime.Poller[T], err error) T {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
	v, err := p.PollUntilDone(d.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second})
	return must(d, v, err)
}

func (d *desk) registry() {
	got, err := d.NewRegistriesClient().Get(d.Context(), group, registry, nil)
	r := must(d, got, err)
	if *r.Name != registry || r.Properties == nil || *r.Properties.LoginServer == "" || *r.Properties.ProvisioningState != acr.ProvisioningStateSucceeded {
		d.Errorf("registry %+v", r)
	}
}

// upload puts a source where the daemon says, as az does.
func (d *desk) upload() {
	got, err := d.NewRegistriesClient().GetBuildSourceUploadURL(d.Context(), group, registry, nil)
	must(d, got, err)
	d.source = *got.RelativePath
	req, err := http.NewRequestWithContext(d.Context(), http.MethodPut, *got.UploadURL, bytes.NewReader(d.archive()))
	must(d, req, err)
	req.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	resp, err := http.DefaultClient.Do(req)
	must(d, resp, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b, _ := io.ReadAll(resp.Body)
		d.Fatalf("upload: %s %s", resp.Status, b)
	}
}

func (d *desk) archive() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"Dockerfile": "FROM scratch\nCOPY hello /\n", "hello": "hello\n",
		"acb.yaml": "steps:\n- build: -t $Registry/sdk/file:{{.Run.ID}} .\n- push: [\"$Registry/sdk/file:{{.Run.ID}}\"]\n",
	} {
		text = strings.ReplaceAll(text, "$Registry", "{{.Run.Registry}}")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			d.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			d.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		d.Fatal(err)
	}
	return b.Bytes()
}

var linux = &acr.PlatformProperties{OS: to.Ptr(acr.OSLinux), Architecture: to.Ptr(acr.ArchitectureAmd64)}

func encoded(text string) *string {
	return new(base64.StdEncoding.EncodeToString([]byte(text)))
}

// schedule queues a run. As in Azure, that is all that is waited for.
func (d *desk) schedule(req acr.RunRequestClassification) *acr.RunProperties {
	d.Helper()
	p, err := d.NewRegistriesClient().BeginScheduleRun(d.Context(), group, registry, req, nil)
	return done(d, p, err).Properties
}

// end waits for the end of a run.
func (d *desk) end(id string) *acr.RunProperties {
	d.Helper()
	for began := time.Now(); time.Since(began) < 2*time.Minute; {
		got, err := d.NewRunsClient().Get(d.Context(), group, registry, id, nil)
		p := must(d, got, err).Properties
		switch *p.Status {
		case acr.RunStatusQueued, acr.RunStatusStarted, acr.RunStatusRunning:
			select {
			case <-time.After(20 * time.Millisecond):
			case <-d.Context().Done():
				d.Fatal(d.Context().Err())
			}
		default:
			return p
		}
	}
	d.Fatalf("run %s does not end", id)
	return nil
}

func (d *desk) log(id string) string {
	d.Helper()
	got, err := d.NewRunsClient().GetLogSasURL(d.Context(), group, registry, id, nil)
	link := *must(d, got, err).LogLink
	req, err := http.NewRequestWithContext(d.Context(), http.MethodGet, link, nil)
	must(d, req, err)
	resp, err := http.DefaultClient.Do(req)
	must(d, resp, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(d, b, err)
	// az knows by this that the log is whole.
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ms-Meta-Complete") == "" {
		d.Errorf("log of %s: %s %v %s", id, resp.Status, resp.Header, b)
	}
	return string(b)
}

// requests schedules the kinds of run requests that no task is behind.
func (d *desk) requests() {
	for _, c := range []struct {
		req    acr.RunRequestClassification
		kind   acr.RunType
		images int
	}{
		{&acr.DockerBuildRequest{
			Type: new("DockerBuildRequest"), Platform: linux, SourceLocation: &d.source, DockerFilePath: new("Dockerfile"),
			ImageNames: []*string{new("sdk/docker:{{.Run.ID}}")}, IsPushEnabled: new(true), Timeout: to.Ptr[int32](600),
			AgentConfiguration: &acr.AgentProperties{CPU: to.Ptr[int32](2)},
			Arguments:          []*acr.Argument{{Name: new("A"), Value: new("1")}, {Name: new("S"), Value: new(canary), IsSecret: new(true)}},
		}, acr.RunTypeQuickBuild, 1},
		{&acr.FileTaskRunRequest{
			Type: new("FileTaskRunRequest"), Platform: linux, SourceLocation: &d.source, TaskFilePath: new("acb.yaml"),
		}, acr.RunTypeQuickRun, 1},
		{&acr.EncodedTaskRunRequest{
			Type: new("EncodedTaskRunRequest"), Platform: linux, EncodedTaskContent: encoded("steps: []"), IsArchiveEnabled: new(true),
			Values: []*acr.SetValue{{Name: new("v"), Value: new(canary), IsSecret: new(true)}},
		}, acr.RunTypeQuickRun, 0},
	} {
		queued := d.schedule(c.req)
		if *queued.ProvisioningState != acr.ProvisioningStateSucceeded || *queued.RunType != c.kind {
			d.Errorf("queued: %s %s", *queued.ProvisioningState, *queued.RunType)
		}
		p := d.end(*queued.RunID)
		if *p.Status != acr.RunStatusSucceeded || len(p.OutputImages) != c.images {
			d.Fatalf("%T: %s with %d images: %v\n%s", c.req, *p.Status, len(p.OutputImages), deref(p.RunErrorMessage), d.log(*p.RunID))
		}
		for _, i := range p.OutputImages {
			if *i.Tag != *p.RunID || !strings.HasPrefix(*i.Digest, "sha256:") || !strings.HasPrefix(*i.Repository, "sdk/") {
				d.Errorf("image %s:%s@%s", *i.Repository, *i.Tag, *i.Digest)
			}
			runs := d.list(fmt.Sprintf("contains(OutputImageManifests, '%s@%s')", *i.Repository, *i.Digest), nil)
			if !slices.Contains(runs, *p.RunID) {
				d.Errorf("run %s is not found by its image: %v", *p.RunID, runs)
			}
		}
		if text := d.log(*p.RunID); !strings.Contains(text, "Run ID: "+*p.RunID+" was successful after ") {
			d.Errorf("log of %T:\n%s", c.req, text)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// list is the ids of the runs that a filter finds.
func (d *desk) list(filter string, top *int32) []string {
	d.Helper()
	ids, _ := d.listPages(filter, top)
	return ids
}

func (d *desk) listPages(filter string, top *int32) (ids []string, pages int) {
	d.Helper()
	o := &acr.RunsClientListOptions{Top: top}
	if filter != "" {
		o.Filter = &filter
	}
	for pager := d.NewRunsClient().NewListPager(group, registry, o); pager.More(); pages++ {
		p, err := pager.NextPage(d.Context())
		for _, r := range must(d, p, err).Value {
			ids = append(ids, *r.Properties.RunID)
		}
	}
	return ids, pages
}
