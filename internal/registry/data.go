package registry

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// Data answers ACR's data API, at and below /acr/v1. What it deletes goes the
// same way as what is deleted below /v2.
func (r *Registry) Data() http.Handler { return http.HandlerFunc(r.serveData) }

// dataRoute is what a path of the data API asks for.
type dataRoute struct {
	name    string // empty: the catalog
	list    string // _tags, _manifests, or empty for the repository itself
	ref     string // a tag, a digest, or empty for the list
	deleted bool   // of what was deleted, and can be restored
}

// path is the route as docs/openapi.yaml has it.
func (rt dataRoute) path() string {
	path := acr.Root
	if rt.deleted {
		path += "/_deleted"
	}
	switch {
	case rt.name == "":
		return path + "/_catalog"
	case rt.list == "":
		return path + "/{name}"
	case rt.ref == "":
		return path + "/{name}/" + rt.list
	case rt.list == "_tags":
		return path + "/{name}/_tags/{tag}"
	}
	return path + "/{name}/_manifests/{digest}"
}

func (r *Registry) serveData(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		faultClosed.serve(w)
		return
	}
	defer r.requests.Done()
	rt, bad := parseData(req.URL.Path)
	if bad != nil {
		bad.serve(w)
		return
	}
	serve := r.dataOperations()[req.Method+" "+rt.path()]
	if serve == nil {
		faultMethod.serve(w)
		return
	}
	serve(w, req, rt)
}

// dataOperations are all that there are. docs/openapi.yaml has the same.
func (r *Registry) dataOperations() map[string]func(http.ResponseWriter, *http.Request, dataRoute) {
	return map[string]func(http.ResponseWriter, *http.Request, dataRoute){
		"GET /acr/v1/_catalog":                     r.dataCatalog,
		"GET /acr/v1/{name}":                       r.dataRepository,
		"PATCH /acr/v1/{name}":                     r.dataUpdate,
		"DELETE /acr/v1/{name}":                    r.dataDelete,
		"GET /acr/v1/{name}/_tags":                 r.dataTags,
		"GET /acr/v1/{name}/_tags/{tag}":           r.dataTag,
		"PATCH /acr/v1/{name}/_tags/{tag}":         r.dataUpdate,
		"DELETE /acr/v1/{name}/_tags/{tag}":        r.dataUntag,
		"GET /acr/v1/{name}/_manifests":            r.dataManifests,
		"GET /acr/v1/{name}/_manifests/{digest}":   r.dataManifest,
		"PATCH /acr/v1/{name}/_manifests/{digest}": r.dataUpdate,

		"GET /acr/v1/_deleted/_catalog":                    r.deletedCatalog,
		"GET /acr/v1/_deleted/{name}/_manifests":           r.deletedManifests,
		"GET /acr/v1/_deleted/{name}/_tags":                r.deletedTags,
		"GET /acr/v1/_deleted/{name}/_tags/{tag}":          r.deletedTags,
		"POST /acr/v1/_deleted/{name}/_tags/{tag}":         r.restore,
		"POST /acr/v1/_deleted/{name}/_manifests/{digest}": r.restore,
	}
}

func parseData(path string) (dataRoute, *fault) {
	rest, ok := strings.CutPrefix(path, acr.Root+"/")
	if !ok {
		return dataRoute{}, faultNoEndpoint
	}
	rt := dataRoute{}
	rest, rt.deleted = strings.CutPrefix(rest, "_deleted/")
	if rest == "_catalog" {
		return rt, nil
	}
	rt.name = rest
	for _, list := range []string{"_tags", "_manifests"} {
		if name, ref, ok := strings.Cut(rest, "/"+list); ok && (ref == "" || ref[0] == '/') {
			rt.name, rt.list, rt.ref = name, list, strings.TrimPrefix(ref, "/")
		}
	}
	if len(rt.name) > maxName || !nameGrammar().MatchString(rt.name) {
		return dataRoute{}, faultName
	}
	if rt.list == "_tags" && rt.ref != "" && !tagGrammar().MatchString(rt.ref) {
		return dataRoute{}, faultTagUnknown
	}
	if rt.list == "_manifests" && rt.ref != "" && digest.Digest(rt.ref).Validate() != nil {
		return dataRoute{}, faultDigest
	}
	return rt, nil
}

// pages is how a list is to be told.
type pages struct {
	last  string
	n     int
	order string // timeasc, timedesc, or empty: by name
}

// defaultPage is ACR's.
const defaultPage = 100

func parsePages(q url.Values) (pages, *fault) {
	p := pages{last: q.Get("last"), n: defaultPage, order: q.Get("orderby")}
	if text := q.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return p, faultPage
		}
		p.n = min(n, maxPage)
	}
	switch p.order {
	case acr.NewestFirst, acr.OldestFirst:
	case "", "none":
		p.order = ""
	default:
		return p, faultOrder
	}
	return p, nil
}

// listed is an entry of a list: what it is ordered by.
type listed struct {
	name string
	at   time.Time
}

// after sorts entries, which are by name, and returns those of the page that p
// asks for. next is where the page after it begins, empty if there is none. By
// time, it names a time too: what it names may be gone by then.
func (p pages) after(all []listed) (page []listed, next string) {
	compare := func(a, b listed) int { return cmp.Compare(a.name, b.name) }
	switch p.order {
	case acr.OldestFirst:
		compare = func(a, b listed) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) }
	case acr.NewestFirst:
		compare = func(a, b listed) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) }
	}
	slices.SortFunc(all, compare)
	if p.last != "" {
		last := p.position(all)
		i, found := slices.BinarySearchFunc(all, last, compare)
		if found {
			i++
		}
		all = all[i:]
	}
	if len(all) <= p.n {
		return all, ""
	}
	all = all[:p.n]
	end := all[p.n-1]
	if p.order == "" {
		return all, end.name
	}
	return all, strconv.FormatInt(end.at.UnixNano(), 10) + "!" + end.name
}

// position is the entry that last means. Nothing is called with a "!".
func (p pages) position(all []listed) listed {
	if p.order == "" {
		return listed{name: p.last}
	}
	nanos, name, ok := strings.Cut(p.last, "!")
	if n, err := strconv.ParseInt(nanos, 10, 64); ok && err == nil {
		return listed{name, time.Unix(0, n)}
	}
	i := slices.IndexFunc(all, func(l listed) bool { return l.name == p.last })
	if i < 0 {
		return listed{name: p.last}
	}
	return all[i]
}

// link says where the next page is.
func (p pages) link(w http.ResponseWriter, req *http.Request, next string) {
	if next == "" {
		return
	}
	q := req.URL.Query()
	q.Set("last", next)
	q.Set("n", strconv.Itoa(p.n))
	w.Header().Set("Link", "<"+(&url.URL{Path: req.URL.Path, RawQuery: q.Encode()}).String()+`>; rel="next"`)
}

// repositories are all that have a manifest, by name.
func (r *Registry) repositories() ([]string, error) {
	var names []string
	err := r.layout.names(func(name string) bool {
		if !r.layout.empty(name) {
			names = append(names, name)
		}
		return true
	})
	slices.Sort(names)
	return names, err
}

func (r *Registry) dataCatalog(w http.ResponseWriter, req *http.Request, _ dataRoute) {
	p, bad := parsePages(req.URL.Query())
	if bad != nil {
		bad.serve(w)
		return
	}
	p.order = ""
	names, err := r.repositories()
	if err != nil {
		r.internal(w, "list repositories", err)
		return
	}
	var all []listed
	for _, name := range names {
		if r.attributesOf(lockRepository(name)).List {
			all = append(all, listed{name: name})
		}
	}
	page, next := p.after(all)
	found := acr.Repositories{Names: []string{}}
	for _, l := range page {
		found.Names = append(found.Names, l.name)
	}
	p.link(w, req, next)
	answer(w, http.StatusOK, found)
}

// view answers a request for a repository that is not there, and says so.
func (r *Registry) view(w http.ResponseWriter, name string) (*view, bool) {
	v, err := r.views.of(r.layout, name)
	if err != nil {
		r.internal(w, "read repository", err)
		return nil, false
	}
	if v == nil || len(v.manifests) == 0 {
		faultNameUnknown.serve(w)
		return nil, false
	}
	return v, true
}

func (r *Registry) dataRepository(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	updated := v.updated()
	created := updated
	for _, m := range v.manifests {
		created = earlier(created, r.created(m))
	}
	answer(w, http.StatusOK, acr.Repository{
		Registry: req.Host, Name: rt.name, Created: created.UTC(), Updated: updated.UTC(),
		Manifests: len(v.manifests), Tags: len(v.tags), Attributes: r.attributesOf(lockRepository(rt.name)),
	})
}

func (r *Registry) dataTags(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	p, bad := parsePages(req.URL.Query())
	if bad != nil {
		bad.serve(w)
		return
	}
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	hidden, err := r.hidden(rt.name)
	if err != nil {
		r.internal(w, "list tags", err)
		return
	}
	only := digest.Digest(req.URL.Query().Get("digest"))
	var all []listed
	for _, t := range v.tags {
		if (only == "" || t.digest == only) && !hidden[t.name] {
			all = append(all, listed{t.name, t.updated})
		}
	}
	page, next := p.after(all)
	found := acr.Tags{Registry: req.Host, Repository: rt.name, Tags: []acr.Tag{}}
	for _, l := range page {
		t, _ := v.tag(l.name)
		found.Tags = append(found.Tags, r.tellTag(rt.name, t))
	}
	p.link(w, req, next)
	answer(w, http.StatusOK, found)
}

// hidden are the tags of a repository that lists leave out.
func (r *Registry) hidden(name string) (map[string]bool, error) {
	tags, err := r.attributes.tags(name)
	if err != nil {
		return nil, err
	}
	hidden := map[string]bool{}
	for _, tag := range tags {
		hidden[tag] = !r.attributesOf(lockTag(name, tag)).List
	}
	return hidden, nil
}

func (r *Registry) tellTag(name string, t tagged) acr.Tag {
	return acr.Tag{
		Name: t.name, Digest: t.digest.String(), Created: t.created.UTC(), Updated: t.updated.UTC(),
		Attributes: r.attributesOf(lockTag(name, t.name)),
	}
}

func (r *Registry) dataTag(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	t, ok := v.tag(rt.ref)
	if !ok {
		faultTagUnknown.serve(w)
		return
	}
	answer(w, http.StatusOK, acr.TagInfo{Registry: req.Host, Repository: rt.name, Tag: r.tellTag(rt.name, t)})
}

func (r *Registry) dataManifests(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	p, bad := parsePages(req.URL.Query())
	if bad != nil {
		bad.serve(w)
		return
	}
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	all := make([]listed, len(v.manifests))
	for i, m := range v.manifests {
		all[i] = listed{m.digest.String(), m.updated}
	}
	page, next := p.after(all)
	found := acr.Manifests{Registry: req.Host, Repository: rt.name, Manifests: []acr.Manifest{}}
	for _, l := range page {
		m, _ := v.manifest(digest.Digest(l.name))
		told, err := r.tellManifest(rt.name, v, m)
		if err != nil {
			r.internal(w, "list manifests", err)
			return
		}
		told.References = nil
		if told.Attributes.List {
			found.Manifests = append(found.Manifests, told)
		}
	}
	p.link(w, req, next)
	answer(w, http.StatusOK, found)
}

func (r *Registry) dataManifest(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	m, ok := v.manifest(digest.Digest(rt.ref))
	if !ok {
		faultManifestGone.serve(w)
		return
	}
	told, err := r.tellManifest(rt.name, v, m)
	if err != nil {
		r.internal(w, "read manifest", err)
		return
	}
	answer(w, http.StatusOK, acr.ManifestInfo{Registry: req.Host, Repository: rt.name, Manifest: told})
}

// dataUpdate changes attributes, and answers as a GET does.
func (r *Registry) dataUpdate(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	var change acr.Change
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<16)).Decode(&change); err != nil {
		faultAttributes.serve(w)
		return
	}
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	thing, show := lockRepository(rt.name), r.dataRepository
	switch rt.list {
	case "_tags":
		thing, show = lockTag(rt.name, rt.ref), r.dataTag
		if _, ok := v.tag(rt.ref); !ok {
			faultTagUnknown.serve(w)
			return
		}
	case "_manifests":
		thing, show = lockManifest(rt.name, digest.Digest(rt.ref)), r.dataManifest
		if _, ok := v.manifest(digest.Digest(rt.ref)); !ok {
			faultManifestGone.serve(w)
			return
		}
		if change.Quarantine != nil {
			r.dataQuarantine(w, req, rt, change)
			return
		}
	}
	if change.Quarantine != nil || change.QuarantineDetails != nil && rt.list != "_manifests" {
		faultQuarantineState.serve(w)
		return
	}
	leave := r.lanes.enter(rt.name) // what is under way may be what is forbidden now
	err := r.change(thing, change)
	leave()
	if err != nil {
		r.internal(w, "change attributes", err)
		return
	}
	show(w, req, rt)
}

func (r *Registry) change(thing string, change acr.Change) error {
	r.locks.Lock()
	defer r.locks.Unlock()
	a, err := r.attributes.of(thing)
	if err != nil {
		return err
	}
	return r.attributes.set(thing, a.With(change))
}

func (r *Registry) internal(w http.ResponseWriter, doing string, err error) {
	r.log.Error(doing, "err", err)
	faultInternal.serve(w)
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts, numbers and times
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone, and nobody else wants to know
}
