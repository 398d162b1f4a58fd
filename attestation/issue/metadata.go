package issue

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"

	"disk-mapper/attestation/instance"
	"disk-mapper/internal/printable"
)

// gceSelf is this instance by the names that Google's services know.
func (s source) gceSelf(ctx context.Context) (instance.GCE, error) {
	var found []string
	for _, name := range []string{"project/project-id", "instance/zone", "instance/name"} {
		value, err := s.get(ctx, "/computeMetadata/v1/"+name, "Metadata-Flavor", "Google")
		if err != nil {
			return instance.GCE{}, err
		}
		found = append(found, string(value))
	}
	return instance.GCE{Project: found[0], Zone: path.Base(found[1]), Name: found[2]}, nil
}

func gcpSES(ctx context.Context, s source) ([]byte, error) {
	self, err := s.gceSelf(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(self)
}

// awsNitro is the identity document of the instance, as it is.
func awsNitro(ctx context.Context, s source) ([]byte, error) {
	token, err := s.ask(ctx, http.MethodPut, "/latest/api/token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
	if err != nil {
		return nil, err
	}
	return s.get(ctx, "/latest/dynamic/instance-identity/document", "X-Aws-Ec2-Metadata-Token", string(token))
}

// thim asks Azure for the certificates of this machine's processor, in PEM: its
// own, and a chain that begins with the one above it.
func (s source) thim(ctx context.Context) (signer, chain []byte, err error) {
	const where = "/metadata/THIM/amd/certification"
	raw, err := s.get(ctx, where, "Metadata", "True")
	if err != nil {
		return nil, nil, err
	}
	var answer struct{ VCEKCert, CertificateChain string }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", where, printable.Error(err))
	}
	if answer.VCEKCert == "" || answer.CertificateChain == "" {
		return nil, nil, fmt.Errorf("reading %s: vcekCert and certificateChain have %d and %d bytes, want some in both",
			where, len(answer.VCEKCert), len(answer.CertificateChain))
	}
	return []byte(answer.VCEKCert), []byte(answer.CertificateChain), nil
}

// get asks the metadata service. Each platform wants a header with it.
func (s source) get(ctx context.Context, where, header, value string) ([]byte, error) {
	return s.ask(ctx, http.MethodGet, where, header, value)
}

func (s source) ask(ctx context.Context, method, where, header, value string) ([]byte, error) {
	return s.exchange(ctx, method, s.Metadata+where, http.Header{http.CanonicalHeaderKey(header): {value}}, nil)
}

// exchange is one question to any service.
func (s source) exchange(ctx context.Context, method, url string, header http.Header, question io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, question)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", printable.Text(url), printable.Error(err))
	}
	request.Header = header
	response, err := s.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", printable.Text(url), printable.Error(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for %s: answer of status %d", printable.Text(url), response.StatusCode)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", printable.Text(url), printable.Error(err))
	}
	return body, nil
}
