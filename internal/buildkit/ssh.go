package buildkit

import (
	"context"
	"fmt"
	"io"
	"net"

	"acrd/steps"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/sshforward"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type dialAgent = func(context.Context) (io.ReadWriteCloser, error)

// agents serve the SSH agents of a build: the requester's own, connected
// through the daemon, or one made here from keys of the workspace.
func (s *workshop) agents(op *steps.BuildOp, in *inputs) (session.Attachable, error) {
	a := &agentServer{dial: map[string]dialAgent{}}
	for _, want := range op.SSH {
		if dial, ok := s.place.Agents[want.ID]; ok {
			a.dial[want.ID] = dial
			continue
		}
		if len(want.Paths) == 0 {
			return nil, &steps.RefusedError{Reason: fmt.Sprintf("--ssh %s: a step has no agent of its own: give the path of a key in the workspace, --ssh %s=KEY", want.ID, want.ID)}
		}
		ring, err := in.keyring(op, want.Paths)
		if err != nil {
			return nil, &steps.BuildError{Err: fmt.Errorf("--ssh %s: %w", want.ID, err)}
		}
		a.dial[want.ID] = serveKeys(ring)
	}
	return a, nil
}

func (in *inputs) keyring(op *steps.BuildOp, paths []string) (agent.Agent, error) {
	ring := agent.NewKeyring()
	for _, p := range paths {
		rel, err := in.relative(op, p)
		if err != nil {
			return nil, err
		}
		pem, err := readLimited(in.workspace, rel, secretMax)
		if err != nil {
			return nil, outward(p, err)
		}
		key, err := ssh.ParseRawPrivateKey(pem)
		if err != nil {
			return nil, fmt.Errorf("%s is not a private key without passphrase", p)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

func serveKeys(ring agent.Agent) dialAgent {
	return func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			_ = agent.ServeAgent(ring, ours)
		}()
		return theirs, nil
	}
}

// agentServer is BuildKit's side of SSH agent forwarding.
type agentServer struct {
	sshforward.UnimplementedSSHServer
	dial map[string]dialAgent
}

func (a *agentServer) Register(s *grpc.Server) { sshforward.RegisterSSHServer(s, a) }

func (a *agentServer) CheckAgent(_ context.Context, req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	if _, ok := a.dial[agentID(req.ID)]; !ok {
		return nil, status.Errorf(codes.NotFound, "no ssh agent %q", agentID(req.ID))
	}
	return &sshforward.CheckAgentResponse{}, nil
}

func (a *agentServer) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	id := ""
	md, _ := metadata.FromIncomingContext(stream.Context())
	if ids := md.Get(sshforward.KeySSHID); len(ids) > 0 {
		id = ids[0]
	}
	dial, ok := a.dial[agentID(id)]
	if !ok {
		return status.Errorf(codes.NotFound, "no ssh agent %q", agentID(id))
	}
	conn, err := dial(stream.Context())
	if err != nil {
		return fmt.Errorf("ssh agent %s: %w", agentID(id), err)
	}
	return sshforward.Copy(stream.Context(), conn, stream, nil)
}

func agentID(id string) string {
	if id == "" {
		return sshforward.DefaultID
	}
	return id
}
