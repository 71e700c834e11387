package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ledger is what the far sides saw: the core, the issuer and the clients. It is what a run is judged by.
type ledger struct {
	start time.Time

	mu      sync.Mutex
	counts  map[string]int
	minted  map[string]*minted // by handle
	byUser  map[int][]*minted
	wire    map[int]map[string]time.Time // client: the handles whose tokens came out of a node, answers that were lost included
	revoked map[int]time.Time            // client: its legacy session ended at the issuer
	keys    map[string]int               // exchange key: client
	traces  map[int][]string
	orphans map[string][]string // traces of keys whose client is not known yet
}

// minted is a session that the core created.
type minted struct {
	handle, marker string
	client         int
	created, ended time.Time
}

func newLedger() *ledger {
	return &ledger{
		start: time.Now(), counts: map[string]int{}, minted: map[string]*minted{}, byUser: map[int][]*minted{},
		wire: map[int]map[string]time.Time{}, revoked: map[int]time.Time{}, keys: map[string]int{},
		traces: map[int][]string{}, orphans: map[string][]string{},
	}
}

func userID(client int) string { return "user-" + strconv.Itoa(client) }

func clientOf(userID string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(userID, "user-"))
	if err != nil {
		return -1
	}
	return n
}

func (l *ledger) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

func (l *ledger) counted() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// maxTrace bounds what is remembered of one client.
const maxTrace = 400

// trace remembers a line for the client, to explain a violation.
func (l *ledger) trace(client int, at time.Time, format string, args ...any) {
	line := fmt.Sprintf("%9.3fs ", at.Sub(l.start).Seconds()) + fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.traces[client]) < maxTrace {
		l.traces[client] = append(l.traces[client], line)
	}
}

// traceKey is trace for what knows only the exchange's key.
func (l *ledger) traceKey(key string, at time.Time, line string) {
	line = fmt.Sprintf("%9.3fs ", at.Sub(l.start).Seconds()) + line
	l.mu.Lock()
	defer l.mu.Unlock()
	if client, ok := l.keys[key]; ok {
		if len(l.traces[client]) < maxTrace {
			l.traces[client] = append(l.traces[client], line)
		}
		return
	}
	if len(l.orphans[key]) < maxTrace {
		l.orphans[key] = append(l.orphans[key], line)
	}
}

func (l *ledger) created(handle, user, marker string, node int) {
	now := time.Now()
	m := &minted{handle: handle, marker: marker, client: clientOf(user), created: now}
	l.mu.Lock()
	l.minted[handle] = m
	l.byUser[m.client] = append(l.byUser[m.client], m)
	if _, known := l.keys[marker]; !known && marker != "" {
		l.keys[marker] = m.client
		l.traces[m.client] = append(l.traces[m.client], l.orphans[marker]...)
		delete(l.orphans, marker)
	}
	l.mu.Unlock()
	l.trace(m.client, now, "core: node %d created session %s", node, handle)
}

func (l *ledger) removed(handles []string, node int) {
	now := time.Now()
	for _, h := range handles {
		l.mu.Lock()
		m := l.minted[h]
		if m != nil && m.ended.IsZero() {
			m.ended = now
			if _, out := l.wire[m.client][h]; !out {
				l.counts["orphans ended"]++
			}
		}
		l.mu.Unlock()
		if m != nil {
			l.trace(m.client, now, "core: node %d removed session %s", node, h)
		}
	}
}

func (l *ledger) legacyEnded(client, node int) {
	now := time.Now()
	l.mu.Lock()
	if _, ok := l.revoked[client]; !ok {
		l.revoked[client] = now
	}
	l.counts["revocations"]++
	l.mu.Unlock()
	l.trace(client, now, "issuer: node %d revoked the legacy session", node)
}

// gaveOut notes that tokens of a session came out of a node.
func (l *ledger) gaveOut(client int, handle string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire[client] == nil {
		l.wire[client] = map[string]time.Time{}
	}
	if _, ok := l.wire[client][handle]; !ok {
		l.wire[client][handle] = time.Now()
	}
}

func (l *ledger) tracesOf(client int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.traces[client]
}
