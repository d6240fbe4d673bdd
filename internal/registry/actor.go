package registry

import "context"

type actorKey struct{}

// WithActor says who makes the requests of a context, for the events about
// them.
func WithActor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, name)
}

func actor(ctx context.Context) string {
	name, _ := ctx.Value(actorKey{}).(string)
	return name
}
