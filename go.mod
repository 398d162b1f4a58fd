module disk-mapper

go 1.26.0

require (
	cloud.google.com/go/compute/metadata v0.10.0 // Google Cloud: the metadata server
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.24.0 // Azure: bounded retries, pages, resource IDs
	github.com/Azure/azure-sdk-for-go/sdk/azidentity v1.15.0 // Azure: token of the machine's identity
	github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8 v8.4.0 // Azure: scale sets and their machines
	github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9 v9.0.0 // Azure: addresses and load balancers
	github.com/aws/aws-sdk-go-v2 v1.48.0 // AWS: retries and configuration of its clients
	github.com/aws/aws-sdk-go-v2/credentials v1.20.16 // the role of an EC2 instance
	github.com/aws/aws-sdk-go-v2/feature/ec2/imds v1.20.8 // EC2 instance metadata
	github.com/aws/aws-sdk-go-v2/service/ec2 v1.344.2 // the instances of a cluster
	github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2 v1.63.9 // its load balancer
	github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi v1.41.11 // which load balancer that is
	github.com/google/go-eventlog v0.0.3-0.20260617163629-883cc5652c69 // what Google's firmware has measured
	github.com/google/go-sev-guest v0.14.0 // SNP reports: asking for them, and their certificates and signatures
	github.com/google/go-tdx-guest v0.3.2-0.20250814004405-ffb0869e6f4d // TDX quotes: their certificates and signatures
	github.com/google/go-tpm v0.9.8 // TPM commands and structures
	github.com/google/go-tpm-tools v0.4.10 // attestation keys, quotes, event log; v0.4.11 requires a version of go-eventlog that cannot be downloaded
	github.com/gophercloud/gophercloud/v2 v2.15.0 // OpenStack: login, catalog and calls
	github.com/martinjungblut/go-cryptsetup v0.0.0-20220520180014-fd0874fd07a6 // libcryptsetup
	github.com/spf13/cobra v1.10.2 // the operator's command line
	github.com/stretchr/testify v1.12.1 // tests
	go.uber.org/zap v1.28.0 // the log contract is its JSON
	go.yaml.in/yaml/v3 v3.0.6 // operators' configuration files
	golang.org/x/crypto v0.58.0 // argon2id and XTS of LUKS2 keyslots; SSH keys of operators
	golang.org/x/net v0.62.0 // hostile HTTP/2 in tests
	golang.org/x/sync v0.24.0 // writers of a wipe, of which the first failure ends all
	golang.org/x/sys v0.49.0 // mounts, memory files, file system types
	google.golang.org/api v0.311.0 // Google Cloud: instances and forwarding rules
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e // retry hints of busy servers
	google.golang.org/grpc v1.85.0 // recovery and join services
	google.golang.org/protobuf v1.36.12 // their messages
)

require (
	cloud.google.com/go/auth v0.24.1-0.20261001053825-dbc26066f70a // indirect
	cloud.google.com/go/auth/oauth2adapt v0.3.1 // indirect
	github.com/Azure/azure-sdk-for-go/sdk/internal v1.13.0 // indirect
	github.com/AzureAD/microsoft-authentication-library-for-go v1.10.1 // indirect
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/GoogleCloudPlatform/confidential-space/server v0.0.0-20260915221818-a6c0685fb9fc // indirect
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.5.11 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.8.11 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding v1.13.24 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/presigned-url v1.14.11 // indirect
	github.com/aws/smithy-go v1.28.9 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/felixge/httpsnoop v1.1.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-configfs-tsm v0.3.3 // indirect
	github.com/google/logger v1.1.1 // indirect
	github.com/google/s2a-go v0.1.11 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/googleapis/enterprise-certificate-proxy v0.3.24 // indirect
	github.com/googleapis/gax-go/v2 v2.27.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/pkg/browser v0.0.0-20240102092130-5ac0b6a4141c // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp v0.69.0 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	go.opentelemetry.io/otel/trace v1.47.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/oauth2 v0.37.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.2 // indirect
	honnef.co/go/tools v0.8.2 // indirect
)

// The upstream release of 2022 cannot keep header and data apart.
replace github.com/martinjungblut/go-cryptsetup => github.com/edgelesssys/go-cryptsetup v0.0.0-20250822075033-840d240dddf8

tool (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
	google.golang.org/protobuf/cmd/protoc-gen-go
	honnef.co/go/tools/cmd/staticcheck
)
