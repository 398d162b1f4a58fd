package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"disk-mapper/internal/cloud"
	"disk-mapper/internal/printable"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	tagging "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
)

// maxBalancers is how many with the UID are looked at. A cluster has one; the
// tagging API also names those that were deleted of late.
const maxBalancers = 8

// loadBalancer takes the oldest, which is the cluster's own: its nodes, and what
// runs on them, were made later. One that cannot be described fails alone.
func (s session) loadBalancer(ctx context.Context) (string, error) {
	arns, err := s.balancerARNs(ctx)
	if err != nil {
		return "", err
	}
	if len(arns) == 0 {
		return "", fmt.Errorf("no load balancer has the tag %s=%s", cloud.UIDTag, printable.Quote(s.uid))
	}
	api := elasticloadbalancingv2.NewFromConfig(s.config)
	var found []types.LoadBalancer
	fault := errors.New("it has no name, or passes on no TCP")
	for _, arn := range arns {
		answer, err := api.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{LoadBalancerArns: []string{arn}})
		if err != nil {
			fault = fmt.Errorf("describing load balancer %s: %w", printable.Quote(arn), err)
			continue
		}
		found = append(found, slices.DeleteFunc(answer.LoadBalancers, unusable)...)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("none of %d load balancers with the tag %s=%s is of use: %w", len(arns), cloud.UIDTag, printable.Quote(s.uid), fault)
	}
	return sdk.ToString(slices.MinFunc(found, byAge).DNSName), nil
}

// balancerARNs are those with the UID as a tag.
func (s session) balancerARNs(ctx context.Context) ([]string, error) {
	if err := s.member(); err != nil {
		return nil, err
	}
	api := resourcegroupstaggingapi.NewFromConfig(s.config)
	input := &resourcegroupstaggingapi.GetResourcesInput{
		ResourceTypeFilters: []string{"elasticloadbalancing:loadbalancer"},
		TagFilters:          []tagging.TagFilter{{Key: sdk.String(cloud.UIDTag), Values: []string{s.uid}}},
	}
	var arns []string
	for n := 0; n < cloud.MaxPages && len(arns) < maxBalancers; n++ {
		page, err := api.GetResources(ctx, input)
		if err != nil {
			return nil, fmt.Errorf("listing load balancers: %w", err)
		}
		for _, resource := range page.ResourceTagMappingList {
			if slices.ContainsFunc(resource.Tags, s.isUID) && resource.ResourceARN != nil {
				arns = append(arns, *resource.ResourceARN)
			}
		}
		if input.PaginationToken = page.PaginationToken; sdk.ToString(input.PaginationToken) == "" {
			break
		}
	}
	return arns[:min(len(arns), maxBalancers)], nil
}

func (s session) isUID(t tagging.Tag) bool {
	return sdk.ToString(t.Key) == cloud.UIDTag && sdk.ToString(t.Value) == s.uid
}

// unusable is true of load balancers that do not pass on TCP.
func unusable(b types.LoadBalancer) bool {
	return b.Type != types.LoadBalancerTypeEnumNetwork || sdk.ToString(b.DNSName) == ""
}

func byAge(a, b types.LoadBalancer) int {
	return sdk.ToTime(a.CreatedTime).Compare(sdk.ToTime(b.CreatedTime))
}
