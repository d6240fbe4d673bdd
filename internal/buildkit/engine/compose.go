//go:build linux

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/diff/apply"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/inline"
	"github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	acontrol "acrd/internal/buildkit/control"
)

// A kit is BuildKit in this process. BuildKit's API between these parts moves
// with every release, so they are put together here and nowhere else.
type kit struct {
	server     *grpc.Server
	controller *control.Controller
	worker     *base.Worker
	sessions   *session.Manager
	images     imageStore
	hosts      docker.RegistryHosts
	metadata   *bolt.DB
}

const snapshotter = "overlayfs"

// compose opens every store below the engine's folder.
func compose(ctx context.Context, e *engine) (*kit, error) {
	k := &kit{hosts: registryHosts(e.config.PlainHTTP, e.config.Own, "")}
	var err error
	if k.sessions, err = session.NewManager(); err != nil {
		return nil, fmt.Errorf("session manager: %w", err)
	}
	options, err := k.workerOptions(ctx, e)
	if err != nil {
		return nil, err
	}
	if k.worker, err = base.NewWorker(ctx, options); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if err := k.guardSources(e.pool.Subnets); err != nil {
		return nil, err
	}
	workers := &worker.Controller{}
	if err := workers.Add(k.worker); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if k.controller, err = k.newController(ctx, e, workers); err != nil {
		return nil, err
	}
	k.server = grpc.NewServer(
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithMeterProvider(noop.NewMeterProvider()))),
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	healthv1.RegisterHealthServer(k.server, health.NewServer())
	k.controller.Register(k.server)
	return k, nil
}

func (k *kit) workerOptions(ctx context.Context, e *engine) (base.WorkerOpt, error) {
	var none base.WorkerOpt
	root := filepath.Join(e.config.Dir, "buildkit")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return none, fmt.Errorf("engine folder: %w", err)
	}
	monitor, err := resources.NewMonitor()
	if err != nil {
		return none, fmt.Errorf("resource monitor: %w", err)
	}
	providers := e.networkProviders()
	exec, err := e.newExecutor(filepath.Join(root, "executor"), providers, monitor)
	if err != nil {
		return none, err
	}
	snapshots, err := overlay.NewSnapshotter(filepath.Join(root, "snapshots"), overlay.AsynchronousRemove)
	if err != nil {
		return none, fmt.Errorf("overlay snapshotter: %w", err)
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return none, fmt.Errorf("content store: %w", err)
	}
	if k.metadata, err = openBolt(filepath.Join(root, "containerd.db")); err != nil {
		return none, err
	}
	db := ctdmetadata.NewDB(k.metadata, blobs, map[string]ctdsnapshots.Snapshotter{snapshotter: snapshots})
	if err := db.Init(ctx); err != nil {
		return none, fmt.Errorf("image metadata: %w", err)
	}
	if err := sweep(ctx, db, snapshots); err != nil {
		return none, fmt.Errorf("sweep cache: %w", err)
	}
	id, err := base.ID(root)
	if err != nil {
		return none, fmt.Errorf("worker id: %w", err)
	}
	refs, err := metadata.NewStore(filepath.Join(root, "metadata.db"))
	if err != nil {
		return none, fmt.Errorf("cache metadata: %w", err)
	}
	content := containerd.NewContentStore(db.ContentStore(), containerdNamespace)
	// BuildKit leaves the image store of this kind of worker empty. With
	// one, what a run builds stays where later steps find it by name.
	k.images = imageStore{ctdmetadata.NewImageStore(db)}
	return base.WorkerOpt{
		ID: id, Root: root, MetadataStore: refs, NetworkProviders: providers, Executor: exec,
		Labels:         map[string]string{"org.mobyproject.buildkit.worker.executor": "acrd"},
		Snapshotter:    containerd.NewSnapshotter(snapshotter, db.Snapshotter(snapshotter), containerdNamespace, nil),
		ContentStore:   content,
		Applier:        apply.NewFileSystemApplier(content),
		Differ:         walking.NewWalkingDiff(content),
		ImageStore:     k.images,
		Platforms:      []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())},
		LeaseManager:   leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(db), containerdNamespace),
		GarbageCollect: db.GarbageCollect,
		MountPoolRoot:  filepath.Join(root, "cachemounts"),
		RegistryHosts:  k.hosts, ResourceMonitor: monitor,
		GCPolicy: cachePolicy(e.config.Cache),
	}, nil
}

// sweep removes what nothing holds in the stores that an earlier engine left.
// BuildKit drops its hold on a snapshot first and its record of it then: what
// ended in between would still be found in the cache, and be gone when a build
// is using it. That takes no kill: BuildKit closes its stores without waiting
// for what builds that were cancelled still remove, so an orderly end is no
// better. A record without a snapshot BuildKit drops when it opens its cache.
// The folder of a snapshot is there before the record of it, and would be in
// the way of the next one that gets its number.
func sweep(ctx context.Context, db *ctdmetadata.DB, folders ctdsnapshots.Snapshotter) error {
	ctx = in(ctx)
	held := ctdmetadata.NewLeaseManager(db)
	temporary, err := held.List(ctx, `labels."buildkit/lease.temporary"`)
	if err != nil {
		return err
	}
	for _, l := range temporary {
		if err := held.Delete(ctx, l); err != nil {
			return err
		}
	}
	if _, err := db.GarbageCollect(ctx); err != nil {
		return err
	}
	c, ok := folders.(ctdsnapshots.Cleaner)
	if !ok {
		return nil
	}
	if err := c.Cleanup(ctx); !errdefs.IsNotFound(err) { // there was never a snapshot
		return err
	}
	return nil
}

func (k *kit) newController(ctx context.Context, e *engine, workers *worker.Controller) (*control.Controller, error) {
	storage, err := bboltcachestorage.NewStore(filepath.Join(e.config.Dir, "buildkit", "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("solver cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(e.config.Dir, "buildkit", "history.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("build history: %w", err)
	}
	historyEntries := int64(100)
	c, err := control.NewController(control.Opt{
		SessionManager: k.sessions, WorkerController: workers,
		// No gateway.v0: a frontend is code that somebody else's image
		// brings, and runs with the build's secrets.
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0":      recorder{forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build)},
			acontrol.RunFrontend: e.runs,
		},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registry.ResolveCacheExporterFunc(k.sessions, k.hosts),
			"inline":   inline.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registry.ResolveCacheImporterFunc(k.sessions, k.worker.ContentStore(), k.hosts),
		},
		CacheManager: solver.NewCacheManager(ctx, "local", storage, worker.NewCacheResultStorage(workers)),
		// What BuildKit could allow. Each solve names what it may use of it.
		Entitlements:  []string{"security.insecure", "network.host", "device"},
		HistoryDB:     history,
		HistoryConfig: &config.HistoryConfig{MaxAge: config.Duration{Duration: 48 * time.Hour}, MaxEntries: &historyEntries},
		CacheStore:    storage,
		LeaseManager:  k.worker.LeaseManager(), ContentStore: k.worker.ContentStore(),
		GarbageCollect: k.worker.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
	if err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	return c, nil
}

func (k *kit) close() error {
	err := k.controller.Close()
	if e := k.metadata.Close(); err == nil {
		err = e
	}
	return err
}

func openBolt(file string) (*bolt.DB, error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, Timeout: 5 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(file), err)
	}
	return db, nil
}
