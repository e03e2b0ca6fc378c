package main

// Descriptor sets of other people, as their Go modules carry them, and one in editions syntax that is compiled here.

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "cloud.google.com/go/iam/apiv1/iampb"
	_ "cloud.google.com/go/kms/apiv1/kmspb"
	_ "cloud.google.com/go/logging/apiv2/loggingpb"
	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/rate_limit_quota/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/tap/v3"
	_ "google.golang.org/grpc/balancer/grpclb/grpc_lb_v1"
	_ "google.golang.org/grpc/channelz/grpc_channelz_v1"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/interop/grpc_testing"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Which services a set has, by how their names begin.
var sets = map[string][]string{
	"googleapis": {"google."},
	"envoy":      {"envoy."},
	"grpc":       {"grpc."},
	"cri":        {"runtime."},
}

type set struct {
	services []protoreflect.ServiceDescriptor
	// Files of the services and everything that they import.
	files *protoregistry.Files
}

func load(name string) (*set, error) {
	if name == "editions" {
		return compile()
	}
	found := &set{files: new(protoregistry.Files)}
	var failed error
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := 0; i < file.Services().Len(); i++ {
			service := file.Services().Get(i)
			for _, prefix := range sets[name] {
				if strings.HasPrefix(string(service.FullName()), prefix) {
					found.services = append(found.services, service)
					failed = found.add(file)
				}
			}
		}
		return failed == nil
	})
	sort.Slice(found.services, func(i, j int) bool {
		return found.services[i].FullName() < found.services[j].FullName()
	})
	if failed == nil && len(found.services) == 0 {
		failed = fmt.Errorf("no services in %s", name)
	}
	return found, failed
}

func (s *set) add(file protoreflect.FileDescriptor) error {
	if _, err := s.files.FindFileByPath(file.Path()); err == nil {
		return nil
	}
	for i := 0; i < file.Imports().Len(); i++ {
		if err := s.add(file.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	return s.files.RegisterFile(file)
}

// Every message that somebody wrote down; those of google/protobuf come with Portunus.
func (s *set) messages() []protoreflect.MessageDescriptor {
	var all []protoreflect.MessageDescriptor
	var walk func(protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := 0; i < messages.Len(); i++ {
			if message := messages.Get(i); !message.IsMapEntry() {
				all = append(all, message)
				walk(message.Messages())
			}
		}
	}
	s.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if file.Package() != "google.protobuf" && file.Package() != "google.protobuf.compiler" {
			walk(file.Messages())
		}
		return true
	})
	sort.Slice(all, func(i, j int) bool { return all[i].FullName() < all[j].FullName() })
	return all
}

// Every feature of edition 2023 that changes the wire or the JSON form.
const editions = `
edition = "2023";
package peers.editions;
import "google/protobuf/timestamp.proto";
option features.field_presence = IMPLICIT;

service Things { rpc Get(Thing) returns (Thing); }

message Thing {
  string implicit = 1;
  string explicit = 2 [features.field_presence = EXPLICIT];
  int32 needed = 3 [features.field_presence = LEGACY_REQUIRED];
  repeated int32 packed = 4;
  repeated int32 expanded = 5 [features.repeated_field_encoding = EXPANDED];
  Part group = 6 [features.message_encoding = DELIMITED, features.field_presence = EXPLICIT];
  repeated Part groups = 7 [features.message_encoding = DELIMITED];
  Part plain = 8 [features.field_presence = EXPLICIT];
  Open open = 9;
  Closed closed = 10 [features.field_presence = EXPLICIT];
  repeated Closed closeds = 11;
  bytes raw = 12 [features.field_presence = EXPLICIT];
  map<string, Part> parts = 13;
  map<int64, Open> opens = 14;
  oneof choice { string text = 15; Part part = 16; double number = 17; }
  google.protobuf.Timestamp at = 18;
  string other_name = 19 [json_name = "renamed"];
  sint64 zigzag = 20;
  fixed64 fixed = 21 [features.field_presence = EXPLICIT];
  bool flag = 22 [features.field_presence = EXPLICIT];
}

message Part {
  string name = 1 [features.field_presence = EXPLICIT];
  repeated double numbers = 2;
  Part inner = 3 [features.message_encoding = DELIMITED, features.field_presence = EXPLICIT];
}

enum Open { OPEN_ZERO = 0; OPEN_ONE = 1; OPEN_LAST = 2147483647; }

enum Closed {
  option features.enum_type = CLOSED;
  CLOSED_ONE = 1;
  CLOSED_LESS = -5;
}
`

func compile() (*set, error) {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(map[string]string{"peers/editions.proto": editions}),
		}),
	}
	files, err := compiler.Compile(context.Background(), "peers/editions.proto")
	if err != nil {
		return nil, err
	}
	found := &set{files: new(protoregistry.Files)}
	for _, file := range files {
		found.services = append(found.services, file.Services().Get(0))
		if err := found.add(file); err != nil {
			return nil, err
		}
	}
	return found, nil
}
