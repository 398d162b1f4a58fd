package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// state is what is known of an endpoint.
type state int

const (
	untried     state = iota
	unreachable       // no TCP connection
	unanswered        // connected, but no answer in time
	refused           // it answered, and not with a key
	badKey            // the key it sent does not open the disk
)

// outcome is how an attempt at one endpoint ended.
type outcome struct {
	endpoint string
	state    state
	err      error
	over     bool // the wait is: by this endpoint's candidate, or by another source's
}

// ask is one attempt. A success is logged here: whoever waits for a key ends all
// that is in flight from within prove.
func (w *wait) ask(ctx context.Context, endpoint string) outcome {
	conn, err := connect(ctx, endpoint, w.client.times.connect)
	if err != nil {
		return outcome{endpoint: endpoint, state: unreachable, err: err}
	}
	err = w.proveTicket(ctx, conn)
	switch {
	case err == nil:
		w.client.log.Info("Successfully retrieved rejoin ticket", zap.String("endpoint", endpoint))
		return outcome{endpoint: endpoint, over: true}
	case errors.Is(err, keys.ErrDecided):
		return outcome{endpoint: endpoint, over: true}
	}
	return outcome{endpoint: endpoint, state: judge(err), err: err}
}

// judge classifies the failure of an endpoint that was reached.
func judge(err error) state {
	switch {
	case errors.Is(err, keys.ErrWrongKey):
		return badKey
	case status.Code(err) == codes.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded):
		return unanswered
	}
	return refused
}

func (w *wait) proveTicket(ctx context.Context, conn net.Conn) error {
	pair, err := w.requestTicket(ctx, conn)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	return w.prove(ctx, pair)
}

func (w *wait) requestTicket(ctx context.Context, conn net.Conn) (keys.Pair, error) {
	// grpc does not close a connection that it has not asked for yet.
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, w.client.times.answer)
	defer cancel()
	self := &speaker{Issuer: w.client.issuer, turns: w.turns}
	client, err := over(conn, self, w.client.server, maxRejoinTicket)
	if err != nil {
		return keys.Pair{}, err
	}
	defer client.Close()
	ticket, err := joinproto.NewAPIClient(client).IssueRejoinTicket(ctx, &joinproto.IssueRejoinTicketRequest{DiskUuid: w.disk.String()})
	self.pass(err != nil)
	if err != nil {
		return keys.Pair{}, err
	}
	defer clear(ticket.StateDiskKey)
	defer clear(ticket.MeasurementSecret)
	return keys.NewPair(ticket.StateDiskKey, ticket.MeasurementSecret)
}

// ownPort changes with each connection.
var ownPort = regexp.MustCompile(`:[0-9]+->`)

// explain is the text of a failure for the log: bounded, because the peer may have
// written it, the same for the same fault, and with what a bare alert means.
func explain(err error) string {
	text := ownPort.ReplaceAllString(err.Error(), "->")
	if len(text) > maxLogged {
		text = strings.ToValidUTF8(text[:maxLogged], "")
	}
	if strings.Contains(text, "remote error: tls: bad certificate") {
		text = fmt.Sprintf("%.*s (the JoinService does not accept this node's attestation; its log says why)", maxLogged-100, text)
	}
	return text
}
