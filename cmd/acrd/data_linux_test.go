package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/internal/registry"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azacr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
)

// fixedToken is a credential that has its token already.
type fixedToken string

func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A shop is a registry behind a gate, as the daemon mounts it.
type shop struct {
	*testing.T
	registry   *registry.Registry
	url, dir   string
	pull, push string // tokens
}

func newShop(t *testing.T, open bool) *shop {
	t.Helper()
	dir := t.TempDir()
	db, _ := openRecords(t, dir)
	reg, err := registry.Open(t.Context(), registry.Options{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		t.Fatal(err)
	}
	gate := &api.Gate{Owner: deskToken, Tokens: db, OpenRegistry: open}
	mux := http.NewServeMux()
	mux.Handle("/v2/", gate.Registry(reg))
	mux.Handle("/acr/v1/", gate.Registry(reg.Data()))
	mux.Handle("/oauth2/", gate.Exchange())
	mux.Handle("/version", (&api.Server{Info: api.Info{Registry: "reg:5000"}}).Handler())
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	var values []string
	for _, scope := range []api.Scope{api.ScopePull, api.ScopePush} {
		value := "acrd_" + strings.Repeat(string(scope[len(scope)-1]), 30)
		if err := db.AddToken(t.Context(), &api.Token{Name: string(scope), Scopes: []api.Scope{scope}, Hash: api.HashToken(value)}); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return &shop{t, reg, s.URL, filepath.Join(dir, "registry"), values[0], values[1]}
}

// index pushes an index of nothing, or of others.
func (s *shop) index(ref, content string) string {
	s.Helper()
	body := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",` + content + `}`
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPut, s.url+"/v2/"+ref, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	req.SetBasicAuth("anybody", deskToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b, _ := io.ReadAll(resp.Body)
		s.Fatalf("%s: %s", resp.Status, b)
	}
	return resp.Header.Get("Docker-Content-Digest")
}

func azureOptions() azcore.ClientOptions {
	return azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}, InsecureAllowCredentialWithHTTP: true}
}

// TestAzureRegistryClient goes the way of Azure's own client: it sends a
// request without a body, is asked for a token, exchanges the one that it has,
// and sends the request again.
func TestAzureRegistryClient(t *testing.T) {
	for _, row := range []struct {
		name  string
		open  bool
		cred  func(pull, push string) azcore.TokenCredential
		reads bool
		write bool
	}{
		{"open, without a credential", true, func(_, _ string) azcore.TokenCredential { return nil }, true, true},
		{"open, with one of Azure's", true, func(_, _ string) azcore.TokenCredential { return fixedToken("eyJ0") }, true, true},
		{"closed, the owner", false, func(_, _ string) azcore.TokenCredential { return fixedToken(deskToken) }, true, true},
		{"closed, to push", false, func(_, push string) azcore.TokenCredential { return fixedToken(push) }, true, true},
		{"closed, to pull", false, func(pull, _ string) azcore.TokenCredential { return fixedToken(pull) }, true, false},
		{"closed, without a credential", false, func(_, _ string) azcore.TokenCredential { return nil }, false, false},
		{"closed, with a wrong one", false, func(_, _ string) azcore.TokenCredential { return fixedToken("acrd_wrong") }, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := t.Context()
			s := newShop(t, row.open)
			s.index("app/manifests/v1", emptyIndex)
			url, cred := s.url, row.cred(s.pull, s.push)
			c, err := azacr.NewClient(url, cred, &azacr.ClientOptions{ClientOptions: azureOptions()})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.GetRepositoryProperties(ctx, "app", nil)
			if (err == nil) != row.reads {
				t.Errorf("read: %v, want it %t", err, row.reads)
			}
			// The first request of a client, with a body.
			if c, err = azacr.NewClient(url, cred, &azacr.ClientOptions{ClientOptions: azureOptions()}); err != nil {
				t.Fatal(err)
			}
			_, err = c.UpdateTagProperties(ctx, "app", "v1", &azacr.ClientUpdateTagPropertiesOptions{Value: &azacr.TagWriteableProperties{CanDelete: new(false)}})
			if (err == nil) != row.write {
				t.Errorf("write: %v, want it %t", err, row.write)
			}
		})
	}
}

const emptyIndex = `"manifests":[]`

// TestAzureBlobClient uploads with a client whose first request would have
// lost its body.
func TestAzureBlobClient(t *testing.T) {
	ctx := t.Context()
	url := newShop(t, true).url
	c, err := azacr.NewBlobClient(url, nil, &azacr.BlobClientOptions{ClientOptions: azureOptions()})
	if err != nil {
		t.Fatal(err)
	}
	start, err := c.StartUpload(ctx, "app", nil)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("blob"), 1000)
	digester := azacr.NewBlobDigestCalculator()
	chunk, err := c.UploadChunk(ctx, *start.Location, bytes.NewReader(content), digester, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.CompleteUpload(ctx, *chunk.Location, digester, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetBlob(ctx, "app", *done.DockerContentDigest, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer got.BlobData.Close()
	if b, err := io.ReadAll(got.BlobData); err != nil || !bytes.Equal(b, content) {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}
