// Package metadata is the metadata service of the qemu provider: what a libvirt network tells about its nodes, plain HTTP,
// unauthenticated. Published paths and records: compatibility with Constellation's nodes of v2.1.0 and later.
package metadata

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"

	"disk-mapper/internal/cloud"
)

// maxBody bounds what a node may post.
const maxBody = 1 << 20

// Network is what the service knows.
type Network struct {
	// Nodes are all nodes; none is answered as null.
	Nodes []cloud.Instance
	// Endpoint is the address in front of the control plane.
	Endpoint string
	// InitSecretHash is handed out as it is.
	InitSecretHash []byte
	// Posts, if set, takes what nodes post to /log, a line each.
	Posts io.Writer `json:"-"`
}

// record is one node as the service shows it.
type record struct {
	cloud.Instance
	SecondaryIPRange string
	AliasIPRanges    []string
}

// Handler serves the network. A caller is the node with its source address as VPCIP; a guest of QEMU's user network calls
// from the host's loopback address, so a caller from there is the first node.
func (n Network) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /self", n.self)
	mux.HandleFunc("GET /peers", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.records()) })
	mux.HandleFunc("GET /endpoint", n.endpoint)
	mux.HandleFunc("GET /initsecrethash", n.initSecretHash)
	mux.HandleFunc("POST /log", n.post)
	mux.HandleFunc("POST /pcrs", n.post)
	return mux
}

func (n Network) self(w http.ResponseWriter, r *http.Request) {
	i := n.find(r.RemoteAddr)
	if i < 0 {
		http.Error(w, "No matching peer found", http.StatusNotFound)
		return
	}
	answer(w, n.records()[i])
}

func (n Network) find(remote string) int {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return -1
	}
	if net.ParseIP(host).IsLoopback() && len(n.Nodes) > 0 {
		return 0
	}
	return slices.IndexFunc(n.Nodes, func(node cloud.Instance) bool { return node.VPCIP == host })
}

func (n Network) records() []record {
	var records []record
	for _, node := range n.Nodes {
		records = append(records, record{Instance: node})
	}
	return records
}

func (n Network) endpoint(w http.ResponseWriter, _ *http.Request) {
	if n.Endpoint == "" {
		http.Error(w, "No control plane found", http.StatusNotFound)
		return
	}
	answer(w, n.Endpoint)
}

func (n Network) initSecretHash(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(n.InitSecretHash) // a caller that has gone needs no answer
}

func (n Network) post(w http.ResponseWriter, r *http.Request) {
	if n.Posts == nil {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = n.Posts.Write(append(body, '\n'))
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // a caller that has gone needs no answer
}
