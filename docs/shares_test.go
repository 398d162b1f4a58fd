package docs

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// share is something that a peer takes of a server before it has proven anything.
type share struct {
	what  string
	total string // name of its limit, in the file that has it
	ofOne string // of one network
	back  string // when it is taken back
	next  string // who gets the next one
	test  string
}

const (
	fair  = "internal/fairlistener/limits.go"
	node  = "recoveryserver/limits.go"
	joins = "internal/joinservice/limits.go"
)

// shares has a row for each of them. Limits are FILE:NAME.
var shares = []share{
	{"a connection to a node, and its descriptor", node + ":maxConns", node + ":maxConnsPerPeer", "for a peer of a network with less; from a named operator last, from one who has called never, nor while its quote or proof is made", "each network's first before anybody's second", "`TestAFloodGivesWayToAnotherPeer`, `TestASwarmOfIPv6HasTheShareOfOne`"},
	{"a connection to a JoinService, and its descriptor", joins + ":maxConns", joins + ":maxConnsPerPeer", "the same; never from an attested node", "the same", "`TestTrustedConnectionsStay`, `TestWhoGivesWayWithinOneNetwork`"},
	{"time for the ClientHello", fair + ":helloTime", "", "all of it at once: a byte does not start it again", "", "`TestDeadlineOfTheClientHello`"},
	{"the one ClientHello that is answered", fair + ":maxAnswers", "", "with our answer, or the wait for a quote", "named operators, then where the last peer has proven itself, then the network that had one longest ago", "`TestClientHellosAreAnsweredInTurns`"},
	{"time for a certificate", fair + ":certificateTime", "", "it starts with our own certificate, not while the peer waits for others' quotes, and again when the peer was judged", "", "`TestDeadlineStartsWithTheTurn`, `TestTimeStandsStillWhileAPeerIsJudged`, `TestPeerThatNeverSendsItsCertificate`"},
	{"the one quote that is made", "1", "", "it ends with the connection", "named operators, then where the last peer has proven itself, then the network that had one longest ago", "`TestQuotesAreMadeOneAtATime`, `TestNamedOperatorGoesFirst`"},
	{"a place to wait for a quote or an answer of a node", node + ":maxWaiting", "", "when the peer hangs up, or for a network with fewer", "as above", "`TestQuotesEndWithTheirConnection`, `TestQueueByNameAndBySize`"},
	{"a place to wait for a quote or an answer of a JoinService", joins + ":maxWaiting", "", "the same", "as above", "`TestQuotesEndWithTheirConnection`, `TestQueueByNameAndBySize`"},
	{"memory for a large certificate", fair + ":maxLarge", fair + ":maxLargeOfOne", "with the verdict, or its deadline; a place in line within `turnTime`, also if the peer hangs up", "as above", "`TestLargeHandshakes`, `TestLargeHandshakesTakeTurns`, `TestOneReadIsNotMoreThanMayBeRead`"},
	{"a question to Google", "attestation/verify/questions.go:maxAsking", "attestation/verify/questions.go:maxAskingOfOne", "with the answer, or the deadline of a handshake", "where the last answer was good, then the network that asked longest ago", "`TestQuestionsToGoogleAreShared`"},
	{"a place to wait for one", "attestation/verify/questions.go:maxToAsk", "", "with the connection, or for a network with fewer", "as above", "`TestQuestionsToGoogleAreShared`, `TestAPeerIsJudgedAsLongAsItStays`"},
	{"a proof of a key", "1", "", "with the verdict, whoever listens; then a wrong one's network has to pause", "as for quotes", "`TestProofsAreBounded`, `TestWrongKeysArePaidForWhoeverListens`"},
	{"a place to wait for a proof", node + ":maxWaiting", "", "when the caller hangs up, or for a network with fewer", "as for quotes", "`TestProofsAreBounded`"},
	{"a line of the log", fair + ":maxLines", fair + ":maxLinesOfOne", "each `lineInterval`; named operators, attested nodes and the call with the right key are exempt", "who comes first", "`TestLinesAboutStrangersAreRationed`, `TestLinesOfNamedOperatorsAreAllThere`"},
}

const sharesHead = `
## What is taken before anything is proven

One network is an IPv4 address or an IPv6 /48; within a /48 its /56 and then its /64 share in the same way.

| what | in all | of one network | taken back | the next one is for | test |
|---|---|---|---|---|---|
`

func sharesPage(t *testing.T) string {
	t.Helper()
	var page strings.Builder
	page.WriteString(sharesHead)
	for _, s := range shares {
		fmt.Fprintf(&page, "| %s | %s | %s | %s | %s | %s |\n", s.what, valueOf(t, s.total), valueOf(t, s.ofOne), s.back, s.next, s.test)
	}
	return page.String()
}

// valueOf is the value of a constant, with its name.
func valueOf(t *testing.T, limit string) string {
	t.Helper()
	path, name, named := strings.Cut(limit, ":")
	if !named {
		return limit
	}
	for _, l := range limitsOf(t, path) {
		if l.name == name {
			return fmt.Sprintf("`%s` (`%s.%s`)", l.value, filepath.Base(filepath.Dir(path)), name)
		}
	}
	require.Fail(t, "no such limit", limit)
	return ""
}
