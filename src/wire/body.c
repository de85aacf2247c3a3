/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire/body.c - see wire/body.h. */
#include "wire/body.h"

#include <string.h>

static const void *at(const ProtobufCMessage *message, unsigned offset)
{
	return (const uint8_t *)message + offset;
}

/* How many sub-messages this field holds now, and where the pointers to them are. */
static size_t children(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
		       ProtobufCMessage *const **out)
{
	if (field->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		*out = *(ProtobufCMessage *const *const *)at(message, field->offset);
		return *(const size_t *)at(message, field->quantifier_offset);
	}
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
	    *(const uint32_t *)at(message, field->quantifier_offset) != field->id)
		return 0;
	*out = at(message, field->offset);
	return **out ? 1 : 0;
}

/* Recurses as deep as the schema nests, which is three levels. */
static bool has_unknown(const ProtobufCMessage *message)
{
	if (message->n_unknown_fields > 0)
		return true;
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		ProtobufCMessage *const *child = NULL;
		size_t count = children(message, &message->descriptor->fields[i], &child);

		for (size_t k = 0; k < count; k++)
			if (has_unknown(child[k]))
				return true;
	}
	return false;
}

static void *unpack(ProtobufCAllocator *allocator, const ProtobufCMessageDescriptor *what,
		    const uint8_t *in, size_t length, struct pf_err *err)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(what, allocator, length, in);
	const char *fault = NULL;

	if (!message)
		fault = "does not decode";
	else if (has_unknown(message))
		fault = "has a field that this version does not know";
	else if (protobuf_c_message_get_packed_size(message) != length)
		fault = "is not in its shortest form, or names a field twice";
	if (!fault)
		return message;
	if (message)
		protobuf_c_message_free_unpacked(message, allocator);
	pf_err_set(err, PF_ERR_PROTOCOL, "the %s body of %zu bytes %s", what->short_name, length,
		   fault);
	return NULL;
}

void *pf_body_unpack(const ProtobufCMessageDescriptor *what, const uint8_t *in, size_t length,
		     struct pf_err *err)
{
	return unpack(NULL, what, in, length, err);
}

static void *take_room(void *opaque, size_t size)
{
	struct pf_body_room *room = opaque;
	void *at = room->bytes + room->used;

	if (size > sizeof(room->bytes) - room->used)
		return NULL;
	room->used += (size + 15) & ~(size_t)15;
	return at;
}

static void leave_room(void *opaque, void *at)
{
	(void)opaque, (void)at;
}

void *pf_body_unpack_into(struct pf_body_room *room, const ProtobufCMessageDescriptor *what,
			  const uint8_t *in, size_t length, struct pf_err *err)
{
	room->allocator = (ProtobufCAllocator){
		.alloc = take_room, .free = leave_room, .allocator_data = room};
	room->used = 0;
	return unpack(&room->allocator, what, in, length, err);
}

void pf_body_free(void *slot)
{
	ProtobufCMessage **message = slot;

	if (*message)
		protobuf_c_message_free_unpacked(*message, NULL);
	*message = NULL;
}

size_t pf_body_pack(const ProtobufCMessage *message, uint8_t *out, size_t size)
{
	if (protobuf_c_message_get_packed_size(message) > size)
		return 0;
	return protobuf_c_message_pack(message, out);
}

void pf_body_text(const char *in, char *out, size_t size)
{
	size_t i;

	for (i = 0; in[i] != '\0' && i + 1 < size; i++)
		out[i] = in[i] >= ' ' && in[i] <= '~' ? in[i] : '?';
	out[i] = '\0';
}
