package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

var errBroken = errors.New("broken")

var errBusy = errors.New("busy")

// world is a node whose parts write down what is asked of them.
type world struct {
	joined  bool
	key     keys.DiskKey // opens the disk
	given   keys.DiskKey // what it was formatted or unlocked with, not a copy
	fail    string       // the step that fails
	steps   []string
	salt    keys.MeasurementSalt
	root    string
	noToken bool                 // the header carries no salt
	header  keys.MeasurementSalt // if set, another one than the file system's
	busy    bool                 // the disk cannot be closed
	ending  context.CancelFunc   // if set, systemd ends the daemon right after the unlock
	proving chan struct{}        // if set, hands over at the begin and the end of a proof
}

func (w *world) step(name string) error {
	w.steps = append(w.steps, name)
	if name == w.fail {
		return errBroken
	}
	return nil
}

func (w *world) ID() keys.DiskID { return mustID("12345678-90ab-cdef-1234-567890abcdef") }
func (w *world) Path() string    { return "/dev/vdb" }
func (w *world) Joined() bool    { return w.joined }
func (w *world) Format(_ context.Context, key keys.DiskKey, progress func(done, total int64)) error {
	w.key, w.given = key.Clone(), key
	progress(1<<20, 4<<20)
	return w.step("format" + w.without())
}

// without says whether what a new disk is mapped with is missing.
func (w *world) without() string {
	if raw, err := os.ReadFile(filepath.Join(w.root, keyFile)); !w.joined && (err != nil || !bytes.Equal(raw, w.key.Bytes())) {
		return " without key file"
	}
	return ""
}

func (w *world) Prove(key keys.DiskKey) error {
	if w.proving != nil {
		w.proving <- struct{}{}
		<-w.proving
	}
	if w.fail == "prove" {
		return errBroken
	}
	if !bytes.Equal(key.Bytes(), w.key.Bytes()) {
		return keys.ErrWrongKey
	}
	return nil
}

func (w *world) Unlock(_ context.Context, key keys.DiskKey) error {
	if !bytes.Equal(key.Bytes(), w.key.Bytes()) {
		return keys.ErrWrongKey
	}
	w.given = key
	if w.ending != nil {
		w.ending()
	}
	return w.step("unlock" + w.without())
}

func (w *world) HeaderSalt() (keys.MeasurementSalt, bool) {
	if w.noToken {
		return keys.MeasurementSalt{}, false
	}
	if w.header.Bytes() != nil {
		return w.header, true
	}
	return w.salt, true
}

func (w *world) PrivateSalt(_ context.Context, key keys.DiskKey) (keys.MeasurementSalt, error) {
	if !bytes.Equal(key.Bytes(), w.key.Bytes()) {
		return keys.MeasurementSalt{}, keys.ErrWrongKey
	}
	if w.ending != nil {
		w.ending()
	}
	return w.salt, w.step("private salt")
}

func (w *world) MappedSalt(context.Context) (keys.MeasurementSalt, error) {
	return w.salt, w.step("compare")
}

func (w *world) Close() error {
	if err := w.step("close"); err != nil || !w.busy {
		return err
	}
	return errBusy
}

func (w *world) Extend(ctx context.Context, id keys.ClusterID) error {
	err := errors.Join(w.step("extend"), ctx.Err())
	w.steps[len(w.steps)-1] += fmt.Sprintf(" %x", id.Bytes()[:2])
	return err
}

func mustID(s string) keys.DiskID {
	id, err := keys.ParseDiskID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// The secret and salt of the published vector A, whose cluster ID begins e7fd.
func vectorA(t *testing.T) (keys.MasterSecret, keys.MeasurementSalt) {
	t.Helper()
	seq := func(from byte) []byte {
		b := make([]byte, 32)
		for i := range b {
			b[i] = from + byte(i)
		}
		return b
	}
	master, err := keys.NewMasterSecret(seq(0), seq(0x20))
	require.NoError(t, err)
	salt, err := keys.NewMeasurementSalt(seq(0x40))
	require.NoError(t, err)
	return master, salt
}

// sourceFunc is a Source.
type sourceFunc func(ctx context.Context, disk keys.DiskID, prove keys.Prove) error

func (f sourceFunc) Offer(ctx context.Context, disk keys.DiskID, prove keys.Prove) error {
	return f(ctx, disk, prove)
}

// memoryRoot is a directory on tmpfs, as /run is.
func memoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "disk-mapper-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func newBoot(t *testing.T, w *world, sources ...Source) (Boot, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	w.root = memoryRoot(t)
	return Boot{
		Disk: w, Sources: sources, Register: w, Handover: Handover{Root: w.root},
		Status: func(string) {}, Log: zap.New(core),
	}, logs
}

// messages are the lines of the console with the names of their fields: a contract.
func messages(logs *observer.ObservedLogs) (all []string) {
	for _, e := range logs.All() {
		var fields []string
		for _, f := range e.Context {
			fields = append(fields, f.Key)
		}
		all = append(all, fmt.Sprintf("%s %s: %s %v", e.Level.CapitalString(), e.LoggerName, e.Message, fields))
	}
	return all
}

func TestNewDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		fail      string
		wantSteps []string
	}{
		"good":         {"", []string{"format", "unlock"}},
		"format fails": {"format", []string{"format"}},
		"unlock fails": {"unlock", []string{"format", "unlock"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{fail: tc.fail}
			b, logs := newBoot(t, w)
			err := b.Run(t.Context())
			assert.Equal(t, tc.wantSteps, w.steps)
			path := filepath.Join(b.Handover.Root, keyFile)
			if tc.fail != "" {
				assert.ErrorIs(t, err, errBroken)
				assert.NoFileExists(t, path, "no key is left behind")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{
				"INFO setupManager: Preparing new state disk [device]",
				"INFO setupManager: Wiping disk [progressPercent rateMiBPerSecond remaining]",
				"INFO setupManager: Wiping disk successful [duration]",
				"INFO setupManager: State disk is ready [formatSeconds unlockSeconds]",
			}, messages(logs))
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, w.key.Bytes(), raw)
		})
	}
}

// TestNoDiskChangesWithoutAKeyFile: nobody could open it again.
func TestNoDiskChangesWithoutAKeyFile(t *testing.T) {
	w := &world{}
	b, _ := newBoot(t, w)
	require.NoError(t, os.WriteFile(filepath.Join(b.Handover.Root, "run"), nil, 0o600))
	require.ErrorIs(t, b.Run(t.Context()), unix.ENOTDIR)
	assert.Empty(t, w.steps)
}

// TestKeysAreWiped when the boot is over, however it ends.
func TestKeysAreWiped(t *testing.T) {
	for _, joined := range []bool{true, false} {
		for _, fail := range []string{"", "unlock"} {
			w, b := vectorBoot(t)
			w.joined, w.fail = joined, fail
			err := b.Run(t.Context())
			assert.Equal(t, fail == "", err == nil)
			assert.Equal(t, make([]byte, keys.Size), w.given.Bytes())
		}
	}
}

func TestJoinedDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		noToken   bool
		fail      string
		wantSteps []string
	}{
		"good":                      {false, "", []string{"extend e7fd", "unlock", "compare"}},
		"extend fails":              {false, "extend", []string{"extend e7fd"}},
		"unlock fails":              {false, "unlock", []string{"extend e7fd", "unlock"}},
		"nothing to compare with":   {false, "compare", []string{"extend e7fd", "unlock", "compare", "close"}},
		"no token":                  {true, "", []string{"private salt", "extend e7fd", "unlock", "compare"}},
		"no token, no salt":         {true, "private salt", []string{"private salt"}},
		"no token, extend fails":    {true, "extend", []string{"private salt", "extend e7fd"}},
		"no token, unlock fails":    {true, "unlock", []string{"private salt", "extend e7fd", "unlock"}},
		"no token, file gone later": {true, "compare", []string{"private salt", "extend e7fd", "unlock", "compare", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			master, salt := vectorA(t)
			w := &world{joined: true, fail: tc.fail, salt: salt, noToken: tc.noToken}
			pair, err := master.Pair(w.ID())
			require.NoError(t, err)
			w.key = pair.Disk
			offers := sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
				assert.NoError(t, prove(ctx, pair))
				<-ctx.Done()
				return nil
			})
			b, logs := newBoot(t, w, offers)
			err = b.Run(t.Context())
			assert.Equal(t, tc.wantSteps, w.steps)
			assert.NoFileExists(t, filepath.Join(b.Handover.Root, keyFile), "the key of a joined disk goes into no file")
			if tc.fail != "" {
				assert.ErrorIs(t, err, errBroken)
				assert.NoFileExists(t, filepath.Join(b.Handover.Root, unitDir, unitName), "nothing is handed over")
				return
			}
			require.NoError(t, err)
			assert.FileExists(t, filepath.Join(b.Handover.Root, unitDir, unitName))
			assert.Equal(t, []string{
				"INFO setupManager: Preparing existing state disk [device uuid]",
				"INFO setupManager: Waiting for decryption key [uuid refusedKeys waitedSeconds]",
				"INFO setupManager: State disk is ready [waitSeconds measureSeconds unlockSeconds]",
			}, messages(logs))
		})
	}
}

// TestFailureAfterUnlockClosesTheDisk: each row ends with an error, in the order
// of the steps, with the disk closed and no key file.
func TestFailureAfterUnlockClosesTheDisk(t *testing.T) {
	measured := []string{"extend e7fd", "unlock", "compare", "close"}
	noHandover := func(t *testing.T, b Boot, _ *world) { // /run/systemd is a file
		require.NoError(t, os.MkdirAll(filepath.Join(b.Handover.Root, "run"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(b.Handover.Root, "run/systemd"), nil, 0o600))
	}
	otherSalt := func(t *testing.T, _ Boot, w *world) { // the header's is forged in one bit
		raw := bytes.Clone(w.salt.Bytes())
		raw[31] ^= 1
		var err error
		w.header, err = keys.NewMeasurementSalt(raw)
		require.NoError(t, err)
	}
	for name, tc := range map[string]struct {
		joined    bool
		given     func(t *testing.T, b Boot, w *world)
		wantErrs  []error
		wantSteps []string
	}{
		"joined, no handover": {true, noHandover, []error{unix.ENOTDIR}, measured},
		"new, no handover":    {false, noHandover, []error{unix.ENOTDIR}, []string{"format", "unlock", "close"}},
		"other salt":          {true, otherSalt, []error{errOtherSalt}, []string{"extend e5d5", "unlock", "compare", "close"}},
		"other salt, busy":    {true, func(t *testing.T, b Boot, w *world) { otherSalt(t, b, w); w.busy = true }, []error{errOtherSalt, errBusy}, []string{"extend e5d5", "unlock", "compare", "close"}},
		"file gone, busy":     {true, func(_ *testing.T, _ Boot, w *world) { w.fail, w.busy = "compare", true }, []error{errBroken, errBusy}, measured},
		"TPM gone":            {true, func(_ *testing.T, _ Boot, w *world) { w.fail = "extend" }, []error{errBroken}, []string{"extend e7fd"}},
		"new, disk busy":      {false, func(t *testing.T, b Boot, w *world) { noHandover(t, b, w); w.busy = true }, []error{unix.ENOTDIR, errBusy}, []string{"format", "unlock", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := vectorBoot(t)
			w.joined = tc.joined
			tc.given(t, b, w)
			err := b.Run(t.Context())
			for _, want := range tc.wantErrs {
				assert.ErrorIs(t, err, want)
			}
			assert.Equal(t, tc.wantSteps, w.steps)
			assert.NoFileExists(t, filepath.Join(b.Handover.Root, keyFile))
			assert.NoFileExists(t, filepath.Join(b.Handover.Root, unitDir, unitName))
		})
	}
}

// TestEndedOnTheWay: a daemon that is told to stop leaves no unlocked disk, at
// whatever step, and hands nothing over.
func TestEndedOnTheWay(t *testing.T) {
	for name, tc := range map[string]struct {
		noToken   bool
		wantSteps []string
	}{
		"after the private mapping": {true, []string{"private salt", "extend e7fd"}},
		"after the mapping":         {false, []string{"extend e7fd", "unlock", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := vectorBoot(t)
			ctx, cancel := context.WithCancel(t.Context())
			w.ending, w.noToken = cancel, tc.noToken
			assert.ErrorIs(t, b.Run(ctx), context.Canceled)
			assert.Equal(t, tc.wantSteps, w.steps)
			assert.NoFileExists(t, filepath.Join(b.Handover.Root, unitDir, unitName))
		})
	}
}

// vectorBoot is a boot of a joined disk whose key is offered at once.
func vectorBoot(t *testing.T) (*world, Boot) {
	t.Helper()
	master, salt := vectorA(t)
	w := &world{joined: true, salt: salt}
	pair, err := master.Pair(w.ID())
	require.NoError(t, err)
	w.key = pair.Disk
	b, _ := newBoot(t, w, sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error { return prove(ctx, pair) }))
	return w, b
}

func randomPair(t *testing.T) keys.Pair {
	t.Helper()
	p, err := keys.NewPair(keys.RandomDiskKey().Bytes(), keys.RandomDiskKey().Bytes())
	require.NoError(t, err)
	return p
}

func TestRace(t *testing.T) {
	good := randomPair(t)
	wrong := randomPair(t)
	w := &world{joined: true, key: good.Disk}

	t.Run("wrong keys do not end the wait", func(t *testing.T) {
		b, _ := newBoot(t, w, sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
			for range 100 {
				assert.ErrorIs(t, prove(ctx, wrong), keys.ErrWrongKey)
			}
			assert.ErrorIs(t, prove(ctx, keys.Pair{}), keys.ErrLength)
			assert.ErrorIs(t, prove(ctx, keys.Pair{Disk: good.Disk}), keys.ErrLength, "a key without a secret is no candidate")
			assert.NoError(t, prove(ctx, good))
			assert.ErrorIs(t, prove(ctx, good), keys.ErrDecided)
			return nil
		}))
		won, err := b.firstProven(t.Context())
		require.NoError(t, err)
		assert.Equal(t, good.Disk.Bytes(), won.Disk.Bytes())
		assert.Equal(t, good.Measurement.Bytes(), won.Measurement.Bytes())
	})

	t.Run("a failing source does not end the other", func(t *testing.T) {
		failed := make(chan struct{})
		b, logs := newBoot(t, w,
			sourceFunc(func(context.Context, keys.DiskID, keys.Prove) error { defer close(failed); return errBroken }),
			sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error { <-failed; return prove(ctx, good) }))
		_, err := b.firstProven(t.Context())
		require.NoError(t, err)
		assert.Contains(t, messages(logs), "ERROR : Key source failed [error]")
	})

	t.Run("who has nothing more to offer, or is stopped, has not failed", func(t *testing.T) {
		gone := make(chan struct{})
		b, logs := newBoot(t, w,
			sourceFunc(func(context.Context, keys.DiskID, keys.Prove) error { defer close(gone); return nil }),
			sourceFunc(func(ctx context.Context, _ keys.DiskID, _ keys.Prove) error { <-ctx.Done(); return errBroken }),
			sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error { <-gone; return prove(ctx, good) }))
		_, err := b.firstProven(t.Context())
		require.NoError(t, err)
		assert.Zero(t, logs.FilterMessage("Key source failed").Len())
	})

	t.Run("no source is left", func(t *testing.T) {
		b, _ := newBoot(t, w, sourceFunc(func(context.Context, keys.DiskID, keys.Prove) error { return nil }))
		_, err := b.firstProven(t.Context())
		assert.ErrorIs(t, err, errNoSource)
	})

	t.Run("a disk that cannot be read is not a wrong key", func(t *testing.T) {
		broken := &world{joined: true, fail: "prove"}
		b, _ := newBoot(t, broken, sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
			err := prove(ctx, good)
			assert.ErrorIs(t, err, errBroken)
			return err
		}))
		_, err := b.firstProven(t.Context())
		assert.ErrorIs(t, err, errNoSource)
	})

	t.Run("proofs do not pile up behind impatient senders", func(t *testing.T) {
		slow := &world{joined: true, key: good.Disk, proving: make(chan struct{})}
		p := newProver(slow, 1)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- p.from(0)(ctx, good) }()
		<-slow.proving // has begun
		cancel()
		assert.ErrorIs(t, <-left, context.Canceled, "the sender is gone")
		assert.True(t, isProving(p), "but the proof keeps its turn")
		slow.proving <- struct{}{} // may end
		won := <-p.won
		assert.Equal(t, good.Disk.Bytes(), won.Disk.Bytes(), "and counts all the same")
	})

	t.Run("many good keys at once, one wins", func(t *testing.T) {
		var winners atomic.Int32
		for range 1000 {
			offer := sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
				if err := prove(ctx, wrong); ctx.Err() == nil {
					assert.Error(t, err)
				}
				if err := prove(ctx, good); err == nil {
					winners.Add(1)
				} else {
					assert.ErrorIs(t, err, keys.ErrDecided)
				}
				return nil
			})
			b, _ := newBoot(t, w, offer, offer, offer)
			won, err := b.firstProven(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 1, winners.Swap(0), "the winner hears that it won, and only the winner")
			require.Equal(t, good.Disk.Bytes(), won.Disk.Bytes())
		}
	})
}

// counting is a Source that counts.
type counting struct{ sourceFunc }

func (counting) Counts() map[string]int { return map[string]int{"attempts": 7} }

// TestWaitSaysSoAgain: the console and the service manager hear the same, from
// time to time.
func TestWaitSaysSoAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{joined: true, key: keys.RandomDiskKey()}
		b, logs := newBoot(t, w, counting{func(ctx context.Context, _ keys.DiskID, _ keys.Prove) error { <-ctx.Done(); return nil }}, sourceFunc(func(ctx context.Context, _ keys.DiskID, prove keys.Prove) error {
			wrong, err := keys.NewPair(make([]byte, 32), make([]byte, 32))
			require.NoError(t, err)
			assert.ErrorIs(t, prove(ctx, wrong), keys.ErrWrongKey)
			<-ctx.Done()
			return nil
		}))
		ctx, cancel := context.WithTimeoutCause(t.Context(), 65*time.Second, errBroken)
		defer cancel()
		var status []string
		b.Status = func(s string) { status = append(status, s) }
		_, err := b.firstProven(ctx)
		require.ErrorIs(t, err, errBroken)
		require.Len(t, status, 3)
		assert.Equal(t, "Waiting for decryption key: attempts 7, refusedKeys 1, waitedSeconds 60", status[2])
		require.Equal(t, 3, logs.FilterMessage("Waiting for decryption key").Len())
		last := logs.All()[2].ContextMap()
		assert.EqualValues(t, 60, last["waitedSeconds"])
		assert.EqualValues(t, 1, last["refusedKeys"])
		assert.EqualValues(t, 7, last["attempts"])
		assert.Equal(t, w.ID().String(), last["uuid"])
	})
}

func TestPace(t *testing.T) {
	assert.Equal(t, Pace{25, 64, 12 * time.Second}, NewPace(0, 256<<20, 1<<30, 4*time.Second))
	assert.Equal(t, Pace{50, 64, 8 * time.Second}, NewPace(256<<20, 512<<20, 1<<30, 4*time.Second), "what was there before took no time")
	assert.Equal(t, Pace{Percent: 25}, NewPace(256<<20, 256<<20, 1<<30, 0), "nothing done yet")
	assert.Equal(t, Pace{}, NewPace(0, 0, 0, 0))
	assert.Equal(t, "50%, 8s remaining", Pace{50, 64, 8 * time.Second}.String())
	assert.Equal(t, "100%, 0s remaining", NewPace(0, 1<<30, 1<<30, time.Second).String())
	assert.Equal(t, Pace{99, 1023, time.Second}, NewPace(0, 1023<<20, 1<<30, time.Second), "less than half a second is not none")
}

// TestPaceThatIsNotKnown: no time is printed, and none is in the fields, where it
// cannot be told: not yet, or not in years.
func TestPaceThatIsNotKnown(t *testing.T) {
	for name, p := range map[string]Pace{
		"nothing":           {},
		"no time has gone":  NewPace(0, 1<<20, 1<<30, 0),
		"nothing is done":   NewPace(256<<20, 256<<20, 1<<40, time.Hour),
		"it became smaller": NewPace(100, 50, 1000, time.Second),
		"centuries":         NewPace(0, 1, 64<<40, time.Hour),
		"a long time":       NewPace(0, 1<<20, 16<<40, 24*time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			assert.False(t, p.Known())
			assert.Zero(t, p.Remaining)
			assert.Contains(t, p.String(), "%, remaining time not known yet")
			for _, field := range p.Fields() {
				assert.NotEqual(t, "remaining", field.Key)
			}
		})
	}
}

// TestTheLastSourceWins: a source whose key has won, and which is gone before the
// race has heard of it, has won all the same.
func TestTheLastSourceWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{joined: true, key: keys.RandomDiskKey()}
		p := newProver(w, 1)
		pair := keys.Pair{Disk: w.key, Measurement: mustSecret(t)}
		require.NoError(t, p.try(sender{}, pair))
		go func() { time.Sleep(time.Second); p.won <- pair }()
		won, err := p.result()
		require.NoError(t, err)
		assert.Equal(t, pair, won)
	})
}

func mustSecret(t *testing.T) keys.MeasurementSecret {
	t.Helper()
	secret, err := keys.NewMeasurementSecret(make([]byte, keys.Size))
	require.NoError(t, err)
	return secret
}

// TestPhasesAreLeftForTheBootedSystem: in seconds, by name.
func TestPhasesAreLeftForTheBootedSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, logs := newBoot(t, &world{})
		p := beginPhases()
		time.Sleep(1500 * time.Millisecond)
		p.end("wait")
		time.Sleep(20 * time.Millisecond)
		p.end("unlock")
		b.ready(p)
		raw, err := os.ReadFile(filepath.Join(b.Handover.Root, "run/disk-mapper/phases.json"))
		require.NoError(t, err)
		assert.JSONEq(t, `{"waitSeconds":1.5,"unlockSeconds":0.02}`, string(raw))
		assert.Equal(t, map[string]any{"waitSeconds": 1.5, "unlockSeconds": 0.02}, logs.All()[0].ContextMap())

		b.Handover.Root = "/dev/null" // nothing can be left there
		b.ready(p)
		assert.Equal(t, "Failed to leave the times of this boot", logs.All()[2].Message)
	})
}
