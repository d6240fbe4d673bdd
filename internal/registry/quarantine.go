package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"acrd/eventing"
	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// An image that is new while the policy is on waits in quarantine: no tag leads
// to it, and its digest does, for who examines it. Nobody is told of a push
// until it is released. The state is an attribute of its manifest, which is
// written before the manifest is, so that it can never be pulled unseen.

// quarantined says whether a manifest waits for its release, or will if it is
// put now. Where there is no manifest the state is of one that has gone, or
// never came.
func (r *Registry) quarantined(ctx context.Context, name string, d digest.Digest) (bool, error) {
	has, err := r.backend.has(ctx, name, d)
	if err != nil {
		return false, err
	}
	if !has {
		return r.Policies().Quarantine.Enabled(), nil
	}
	return r.attributesOf(lockManifest(name, d)).Held(), nil
}

// hold puts a manifest into quarantine that is to be put now, if it is to be
// there, and says so. The caller has the lane of the repository.
func (r *Registry) hold(ctx context.Context, name string, d digest.Digest) (held bool, err error) {
	held, err = r.quarantined(ctx, name, d)
	if err != nil {
		return false, err
	}
	thing, state := lockManifest(name, d), ""
	if held {
		state = acr.Quarantined
	}
	if now := r.attributesOf(thing); held == now.Held() {
		return held, nil
	}
	return held, r.change(thing, acr.Change{Quarantine: &state})
}

// dataQuarantine changes the attributes of a manifest, and with them its state
// in quarantine.
func (r *Registry) dataQuarantine(w http.ResponseWriter, req *http.Request, rt dataRoute, c acr.Change) {
	if r.mayRelease != nil && !r.mayRelease(req) {
		faultRelease.serve(w)
		return
	}
	if state := *c.Quarantine; state != acr.Quarantined && state != acr.QuarantinePassed && state != acr.QuarantineFailed {
		faultQuarantineState.serve(w)
		return
	}
	leave := r.lanes.enter(rt.name)
	defer leave()
	if err := r.release(context.WithoutCancel(req.Context()), req, rt.name, digest.Digest(rt.ref), c); err != nil {
		if bad, ok := errors.AsType[*fault](err); ok {
			bad.serve(w)
			return
		}
		r.internal(w, "change quarantine", err)
		return
	}
	r.dataManifest(w, req, rt)
}

// release makes a change, and tells of the tags of a manifest as of pushes if
// that lets it out of quarantine. The caller has the lane of the repository.
func (r *Registry) release(ctx context.Context, req *http.Request, name string, d digest.Digest, c acr.Change) error {
	thing := lockManifest(name, d)
	if was := r.attributesOf(thing); !was.Held() || *c.Quarantine != acr.QuarantinePassed {
		return r.change(thing, c)
	}
	tags, err := r.backend.tagsOf(ctx, name, d)
	if err != nil {
		return err
	}
	slices.Sort(tags)
	drafts, err := r.releases(ctx, req, name, d, tags)
	if err != nil {
		return err
	}
	defer func() {
		for _, draft := range drafts {
			if err := r.look(ctx, draft); err != nil { // later again, by Serve
				r.log.Error("look whether an image was released", "image", draft.Event.Subject, "err", err)
			}
		}
	}()
	for _, draft := range drafts {
		if bad := r.ledger.begin(ctx, draft); bad != nil {
			return bad
		}
	}
	if err := r.change(thing, c); err != nil {
		return err
	}
	for _, tag := range tags {
		if r.pushed != nil {
			r.pushed(name, tag, d.String())
		}
	}
	return nil
}

// releases are the drafts of the pushes that a release tells of.
func (r *Registry) releases(ctx context.Context, req *http.Request, name string, d digest.Digest, tags []string) ([]eventing.Draft, error) {
	if r.ledger.journal == nil {
		return nil, nil
	}
	mediaType, body, err := r.backend.manifest(ctx, name, d)
	if err != nil || body == nil {
		return nil, err
	}
	var drafts []eventing.Draft
	for _, tag := range tags {
		t, chart := r.backend.target(ctx, name, tag, mediaType, body)
		drafts = append(drafts, r.draft(pushOf(chart), t, change{Repository: name, Digest: d, Released: true}, req))
	}
	return drafts, nil
}

func pushOf(chart bool) string {
	if chart {
		return eventing.ChartPushed
	}
	return eventing.ImagePushed
}
