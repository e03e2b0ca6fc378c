// Schemas of other people, by their reflection, read and written by `portunus`, against Go's protobuf.
//
// For each set of descriptors: serve it by reflection, have `portunus descriptors pull` fetch it, and compare how many services and
// messages it found. Then, type by type, send random messages through `portunus call` and back: what arrives on the wire must be the
// message whose JSON was given, and the JSON that comes out must be the message that was sent.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A service with a method for each type that is tried.
const service = "portunus.peers.Types"

func main() {
	passed, failed := 0, 0
	check := func(what string, err error) {
		if err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", what, err)
			return
		}
		passed++
		fmt.Printf("ok   %s\n", what)
	}
	portunus := os.Getenv("PORTUNUS")
	for _, tried := range []struct {
		name         string
		types, times int
	}{{"editions", 2, 10_000}, {"grpc", 20, 500}, {"googleapis", 20, 500}, {"envoy", 20, 500}, {"cri", 20, 500}} {
		if err := try(portunus, tried.name, tried.types, tried.times, check); err != nil {
			check(tried.name, err)
		}
	}
	fmt.Printf("schemas: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func try(portunus, name string, types, times int, check func(string, error)) error {
	set, err := load(name)
	if err != nil {
		return err
	}
	messages := set.messages()
	chosen := choose(messages, types)
	if err := set.exercise(chosen); err != nil {
		return err
	}
	server := &peer{chosen: chosen, times: times}
	address, stop, err := server.start(set)
	if err != nil {
		return err
	}
	defer stop()

	folder, err := os.MkdirTemp("", "portunus-schemas")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	pinned := filepath.Join(folder, "set.bin")
	out, err := exec.Command(portunus, "descriptors", "pull", address, "-o", pinned).CombinedOutput()
	want := fmt.Sprintf("%d services, %d messages,", len(set.services)+1, len(messages))
	if err == nil && (!strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1) {
		err = fmt.Errorf("Go has %s", want)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	check(fmt.Sprintf("%s: %s by reflection", name, strings.TrimSuffix(want, ",")), err)
	for i, of := range chosen {
		what := fmt.Sprintf("%s: %d times %s", name, times, of.FullName())
		check(what, roundTrips(portunus, address, pinned, i, of, times))
	}
	return nil
}

// Types that are spread over all, each with fields.
func choose(messages []protoreflect.MessageDescriptor, most int) []protoreflect.MessageDescriptor {
	var with []protoreflect.MessageDescriptor
	for _, message := range messages {
		if message.Fields().Len() > 1 {
			with = append(with, message)
		}
	}
	var chosen []protoreflect.MessageDescriptor
	for i := 0; i < most && i < len(with); i++ {
		chosen = append(chosen, with[i*len(with)/min(most, len(with))])
	}
	return chosen
}

// Adds a service with a method from each type to itself.
func (s *set) exercise(types []protoreflect.MessageDescriptor) error {
	name, syntax, pkg, short := "portunus/peers.proto", "proto3", "portunus.peers", "Types"
	file := &descriptorpb.FileDescriptorProto{Name: &name, Syntax: &syntax, Package: &pkg}
	imports := map[string]bool{}
	methods := &descriptorpb.ServiceDescriptorProto{Name: &short}
	for i, of := range types {
		method, both, stream := fmt.Sprintf("M%d", i), "."+string(of.FullName()), true
		methods.Method = append(methods.Method, &descriptorpb.MethodDescriptorProto{
			Name: &method, InputType: &both, OutputType: &both, ClientStreaming: &stream, ServerStreaming: &stream,
		})
		if path := of.ParentFile().Path(); !imports[path] {
			imports[path] = true
			file.Dependency = append(file.Dependency, path)
		}
	}
	file.Service = []*descriptorpb.ServiceDescriptorProto{methods}
	built, err := protodesc.NewFile(file, s.files)
	if err != nil {
		return err
	}
	return s.files.RegisterFile(built)
}

// The messages of a type, one after the other.
func generate(i int, of protoreflect.MessageDescriptor) func() *dynamicpb.Message {
	r := rand.New(rand.NewSource(int64(i) + 1))
	return func() *dynamicpb.Message { return random(r, of, 0) }
}

// Sends messages as JSON and compares what comes back.
func roundTrips(portunus, address, pinned string, i int, of protoreflect.MessageDescriptor, times int) error {
	var lines bytes.Buffer
	next := generate(i, of)
	for n := 0; n < times; n++ {
		json, err := protojson.Marshal(next())
		if err != nil {
			return err
		}
		lines.Write(append(bytes.ReplaceAll(json, []byte("\n"), []byte(" ")), '\n'))
	}
	call := exec.Command(portunus, "call", address, fmt.Sprintf("%s/M%d", service, i), "--descriptors", pinned)
	var out, errs bytes.Buffer
	call.Stdin, call.Stdout, call.Stderr = &lines, &out, &errs
	if err := call.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	next = generate(i, of)
	answers := bufio.NewReader(&out)
	for n := 0; n < times; n++ {
		line, err := answers.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%d answers: %w", n, err)
		}
		sent, got := next(), dynamicpb.NewMessage(of)
		if err := protojson.Unmarshal(line, got); err != nil {
			return fmt.Errorf("answer %d: %w: %s", n, err, line)
		}
		if !proto.Equal(sent, got) {
			return fmt.Errorf("answer %d differs:\n%v\n%s", n, sent, line)
		}
	}
	return nil
}

// A server that compares what arrives with what was generated, and sends it back.
type peer struct {
	chosen []protoreflect.MessageDescriptor
	times  int
}

func (p *peer) start(set *set) (string, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(p.answer))
	options := reflection.ServerOptions{Services: listed{set}, DescriptorResolver: set.files}
	v1 := reflection.NewServerV1(options)
	reflectionv1.RegisterServerReflectionServer(server, v1)
	reflectionv1alpha.RegisterServerReflectionServer(server, reflection.NewServer(options))
	go server.Serve(listener)
	return listener.Addr().String(), server.Stop, nil
}

func (p *peer) answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var i int
	if _, err := fmt.Sscanf(method, "/"+service+"/M%d", &i); err != nil || i >= len(p.chosen) {
		return status.Errorf(codes.Unimplemented, "no method %s", method)
	}
	next := generate(i, p.chosen[i])
	for n := 0; ; n++ {
		var wire []byte
		if err := stream.RecvMsg(&wire); err == io.EOF {
			if n != p.times {
				return status.Errorf(codes.Internal, "%d of %d messages came", n, p.times)
			}
			return nil
		} else if err != nil {
			return err
		}
		sent, got := next(), dynamicpb.NewMessage(p.chosen[i])
		if err := proto.Unmarshal(wire, got); err != nil {
			return status.Errorf(codes.Internal, "message %d is not readable: %v", n, err)
		}
		if !proto.Equal(sent, got) {
			return status.Errorf(codes.Internal, "message %d differs:\n%v\n%v", n, sent, got)
		}
		back, err := proto.Marshal(sent)
		if err != nil {
			return err
		}
		// Go writes fields of a oneof behind the others, and entries of a map come in any order: the octets are the same, their order
		// need not be.
		if len(wire) != len(back) {
			return status.Errorf(codes.Internal, "message %d has %d octets instead of %d", n, len(wire), len(back))
		}
		if err := stream.SendMsg(&back); err != nil {
			return err
		}
	}
}

// What reflection lists.
type listed struct{ set *set }

func (l listed) GetServiceInfo() map[string]grpc.ServiceInfo {
	names := map[string]grpc.ServiceInfo{service: {}}
	for _, one := range l.set.services {
		names[string(one.FullName())] = grpc.ServiceInfo{}
	}
	return names
}

// Messages of the tried service are bytes; those of reflection are protobuf.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	if octets, ok := v.(*[]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(*octets)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	if octets, ok := v.(*[]byte); ok {
		*octets = data.Materialize()
		return nil
	}
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}
