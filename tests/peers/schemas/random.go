package main

// Random messages, the same for the same seed.

import (
	"math"
	"math/rand"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// How deep messages lie in each other.
const deepest = 4

var texts = []string{"", "a", "hello", "\"quoted\" \\ / \u0001", "ünïcödé 日本 🚪", "null", "\n\t"}

func random(r *rand.Rand, of protoreflect.MessageDescriptor, depth int) *dynamicpb.Message {
	message := dynamicpb.NewMessage(of)
	if special(r, of, message) {
		return message
	}
	fields := of.Fields()
	for i := 0; i < fields.Len(); i++ {
		field := fields.Get(i)
		oneof := field.ContainingOneof()
		if oneof != nil && !oneof.IsSynthetic() && message.WhichOneof(oneof) != nil {
			continue
		}
		if field.Cardinality() != protoreflect.Required && r.Intn(5) > 2 {
			continue
		}
		inner := field.Message()
		if field.IsMap() {
			inner = field.MapValue().Message()
		}
		// One that is needed is set however deep it is.
		if inner != nil && depth >= deepest && field.Cardinality() != protoreflect.Required {
			continue
		}
		switch {
		case field.IsMap():
			entries := message.Mutable(field).Map()
			for n := r.Intn(3); n > 0; n-- {
				entries.Set(scalar(r, field.MapKey()).MapKey(), value(r, field.MapValue(), depth))
			}
		case field.IsList():
			list := message.Mutable(field).List()
			for n := r.Intn(4); n > 0; n-- {
				list.Append(value(r, field, depth))
			}
		default:
			message.Set(field, value(r, field, depth))
		}
	}
	return message
}

func value(r *rand.Rand, field protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	if field.Message() != nil {
		return protoreflect.ValueOfMessage(random(r, field.Message(), depth+1))
	}
	return scalar(r, field)
}

func scalar(r *rand.Rand, field protoreflect.FieldDescriptor) protoreflect.Value {
	integers := []int64{0, 1, -1, 127, 128, 300, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64, r.Int63()}
	integer := integers[r.Intn(len(integers))]
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.Intn(2) == 1)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(r.Intn(values.Len())).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(integer))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(integer))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(integer)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(integer))
	case protoreflect.FloatKind:
		// Not the largest: buffa 0.9.2 takes its shortest form, 3.4028235e+38, for more than a float holds.
		floats := []float32{0, 1.5, -2.25, 1e38, math.SmallestNonzeroFloat32, float32(math.Inf(1)), r.Float32()}
		return protoreflect.ValueOfFloat32(floats[r.Intn(len(floats))])
	case protoreflect.DoubleKind:
		doubles := []float64{0, 1.5, -2.25, math.MaxFloat64, math.SmallestNonzeroFloat64, math.NaN(), math.Inf(-1), r.NormFloat64()}
		return protoreflect.ValueOfFloat64(doubles[r.Intn(len(doubles))])
	case protoreflect.BytesKind:
		bytes := make([]byte, r.Intn(9))
		r.Read(bytes)
		return protoreflect.ValueOfBytes(bytes)
	default:
		return protoreflect.ValueOfString(texts[r.Intn(len(texts))])
	}
}

// Messages whose JSON form is their own: not every value of their fields has one.
func special(r *rand.Rand, of protoreflect.MessageDescriptor, message *dynamicpb.Message) bool {
	field := func(name protoreflect.Name) protoreflect.FieldDescriptor { return of.Fields().ByName(name) }
	switch of.FullName() {
	case "google.protobuf.Timestamp":
		message.Set(field("seconds"), protoreflect.ValueOfInt64(r.Int63n(4_000_000_000)))
		message.Set(field("nanos"), protoreflect.ValueOfInt32(int32([]int{0, 1_000_000, 1_000, 7}[r.Intn(4)])))
	case "google.protobuf.Duration":
		message.Set(field("seconds"), protoreflect.ValueOfInt64(r.Int63n(1_000_000)))
		message.Set(field("nanos"), protoreflect.ValueOfInt32(int32([]int{0, 500_000_000, 20_000, 3}[r.Intn(4)])))
	case "google.protobuf.FieldMask":
		paths := message.Mutable(field("paths")).List()
		for n := r.Intn(3); n > 0; n-- {
			paths.Append(protoreflect.ValueOfString([]string{"a", "a_b.c", "some_field.other_one"}[r.Intn(3)]))
		}
	case "google.protobuf.Struct":
		fields := field("fields")
		entry := dynamicpb.NewMessage(fields.MapValue().Message())
		special(r, entry.Descriptor(), entry)
		message.Mutable(fields).Map().Set(protoreflect.ValueOfString("key").MapKey(), protoreflect.ValueOfMessage(entry))
	case "google.protobuf.Value":
		if r.Intn(2) == 0 {
			message.Set(field("number_value"), protoreflect.ValueOfFloat64(float64(r.Intn(1000))/8))
		} else {
			message.Set(field("string_value"), protoreflect.ValueOfString(texts[r.Intn(len(texts))]))
		}
	case "google.protobuf.ListValue":
		values := field("values")
		one := dynamicpb.NewMessage(values.Message())
		special(r, one.Descriptor(), one)
		message.Mutable(values).List().Append(protoreflect.ValueOfMessage(one))
	case "google.protobuf.Any":
		// Empty: what is in one has to be known to either side, and descriptor.proto itself is not served.
	default:
		return false
	}
	return true
}
