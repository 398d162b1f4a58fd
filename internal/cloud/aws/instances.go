package aws

import (
	"context"
	"fmt"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

const pageSize = 50 // an instance takes some 8 KiB of an answer

// known is s with what the tags of the instance in document say. A role that is
// missing is unknown.
func (s session) known(ctx context.Context, document imds.InstanceIdentityDocument) (session, error) {
	s.self = cloud.Instance{
		Name:       document.InstanceID,
		ProviderID: providerID(document.AvailabilityZone, document.InstanceID),
		VPCIP:      document.PrivateIP,
	}
	answer, err := ec2.NewFromConfig(s.config).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{document.InstanceID}})
	if err != nil {
		return session{}, fmt.Errorf("describing this instance: %w", err)
	}
	for _, instance := range instances(answer) {
		if sdk.ToString(instance.InstanceId) == document.InstanceID {
			s.self.Role = cloud.ParseRole(tag(instance, cloud.RoleTag))
			s.uid = tag(instance, cloud.UIDTag)
			return s, nil
		}
	}
	return session{}, fmt.Errorf("describing this instance: EC2 knows no %q", document.InstanceID)
}

// nodes comes with those of the pages before one that fails. The SDK's paginator
// takes the client as an interface, which makes the linker keep all of its 700
// methods: 30 MB.
func (s session) nodes(ctx context.Context) ([]cloud.Instance, error) {
	if err := s.member(); err != nil {
		return nil, err
	}
	api := ec2.NewFromConfig(s.config)
	input := &ec2.DescribeInstancesInput{
		Filters: []types.Filter{
			{Name: sdk.String("tag:" + cloud.UIDTag), Values: []string{s.uid}},
			{Name: sdk.String("instance-state-name"), Values: []string{string(types.InstanceStateNameRunning)}},
		},
		MaxResults: sdk.Int32(pageSize),
	}
	var nodes []cloud.Instance
	for range cloud.MaxPages {
		page, err := api.DescribeInstances(ctx, input)
		if err != nil {
			return nodes, fmt.Errorf("listing instances: %w", err)
		}
		nodes = append(nodes, s.nodesOf(page)...)
		if input.NextToken = page.NextToken; sdk.ToString(input.NextToken) == "" {
			break
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no running instance has the tag %s=%s", cloud.UIDTag, printable.Quote(s.uid))
	}
	return nodes, nil
}

// nodesOf checks what was asked for once more: a platform may understand less of
// a filter than EC2 does.
func (s session) nodesOf(page *ec2.DescribeInstancesOutput) (nodes []cloud.Instance) {
	for _, instance := range instances(page) {
		running := instance.State != nil && instance.State.Name == types.InstanceStateNameRunning
		if running && tag(instance, cloud.UIDTag) == s.uid {
			nodes = append(nodes, node(instance))
		}
	}
	return nodes
}

// member fails if this instance is not marked as a node of a cluster.
func (s session) member() error {
	if s.uid == "" {
		return fmt.Errorf("this instance, %s, has no tag %s", s.self.Name, cloud.UIDTag)
	}
	return nil
}

func instances(answer *ec2.DescribeInstancesOutput) (all []types.Instance) {
	for _, reservation := range answer.Reservations {
		all = append(all, reservation.Instances...)
	}
	return all
}

// node is instance as far as EC2 describes it.
func node(instance types.Instance) cloud.Instance {
	id, zone := sdk.ToString(instance.InstanceId), ""
	if instance.Placement != nil {
		zone = sdk.ToString(instance.Placement.AvailabilityZone)
	}
	return cloud.Instance{
		Name:       id,
		ProviderID: providerID(zone, id),
		Role:       cloud.ParseRole(tag(instance, cloud.RoleTag)),
		VPCIP:      sdk.ToString(instance.PrivateIpAddress),
	}
}

func providerID(zone, id string) string {
	if zone == "" {
		return "aws:///" + id
	}
	return "aws:///" + zone + "/" + id
}

// tag is "" if there is none of that name.
func tag(instance types.Instance, name string) string {
	for _, t := range instance.Tags {
		if sdk.ToString(t.Key) == name {
			return sdk.ToString(t.Value)
		}
	}
	return ""
}
