package rejoinclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
	"disk-mapper/proto/joinproto"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// state is what is known of an endpoint.
type state int

const (
	untried     state = iota
	unreachable       // no TCP connection
	unanswered        // connected, but no answer in time
	refused           // it answered, and not with a ticket
	badKey            // the key it sent does not open the disk
)

// outcome is how an attempt at one endpoint ended.
type outcome struct {
	endpoint string
	state    state
	err      error
	quoted   bool // the attempt has cost a quote
	over     bool // the wait is: by this endpoint's ticket, or by another source's
}

// attempt is one turn of an endpoint, on as many connections as it takes to wait
// for the turn at the TPM.
type attempt struct {
	*wait
	endpoint string
	place    place
}

// run reports a success here: whoever waits for a ticket ends all that is in
// flight from within accept.
func (a *attempt) run(ctx context.Context) outcome {
	for {
		conn, err := connect(ctx, a.endpoint, a.client.times)
		if err != nil {
			return outcome{endpoint: a.endpoint, state: unreachable, err: err}
		}
		self := &issuer{Issuer: a.client.issuer, turns: a.turns, place: &a.place}
		ticket, err := a.request(ctx, conn, self)
		if err != nil && self.wasLate() && ctx.Err() == nil {
			continue
		}
		if err == nil {
			err = a.accept(ctx, ticket)
		}
		return a.outcome(err, self.hasQuoted())
	}
}

func (a *attempt) outcome(err error, quoted bool) outcome {
	if err == nil {
		a.wanted.got(a.log, printable.Text(a.endpoint))
	}
	if err == nil || errors.Is(err, keys.ErrDecided) {
		return outcome{endpoint: a.endpoint, over: true}
	}
	return outcome{endpoint: a.endpoint, state: judge(err), err: err, quoted: quoted}
}

// accept clears the ticket.
func (a *attempt) accept(ctx context.Context, ticket response) error {
	defer ticket.clear()
	return a.wanted.accept(ctx, a.endpoint, ticket)
}

// judge classifies the failure of an endpoint that was reached.
func judge(err error) state {
	switch {
	case errors.Is(err, keys.ErrWrongKey):
		return badKey
	case status.Code(err) == codes.DeadlineExceeded:
		return unanswered
	}
	return refused
}

// request closes conn.
func (a *attempt) request(ctx context.Context, conn net.Conn, self *issuer) (response, error) {
	// grpc does not close a connection that it has not asked for yet.
	defer conn.Close()
	ctx, self.patience = newPatience(ctx, a.client.times.answer)
	defer self.patience.end()
	client, err := over(conn, self, a.client.server.Around(self.patience.judging(conn)), a.wanted.longest())
	if err != nil {
		return response{}, err
	}
	defer client.Close()
	ticket, err := a.wanted.request(ctx, joinproto.NewAPIClient(client))
	self.pass(err != nil)
	if err != nil && errors.Is(context.Cause(ctx), errUnanswered) {
		err = status.FromContextError(context.DeadlineExceeded).Err()
	}
	return ticket, err
}

// ownPort changes with each connection.
var ownPort = regexp.MustCompile(`:[0-9]+->`)

// explain is the text of a failure for the log: printable, because the peer may
// have written it, the same for the same fault, and with what a bare alert means.
func explain(err error) string {
	text := ownPort.ReplaceAllString(printable.Error(err).Error(), "->")
	if strings.Contains(text, "remote error: tls: bad certificate") {
		text = fmt.Sprintf("%s (the JoinService does not accept this node's attestation; its log says why)", text)
	}
	return text
}
