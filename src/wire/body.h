/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/body.h - protobuf bodies, decoded strictly; for msg.c and vmm_msg.c.
 *
 * Strict: a body must have exactly the length that its content takes, and no field that the schema
 * does not know.  So whatever passed means the same to every reader: no field twice, no string with
 * a NUL in it, nothing hidden.  No I/O; any thread; allocates a small multiple of the body's size,
 * and the caller frees it with pf_body_free(), or pf_auto_body.
 */
#ifndef PF_WIRE_BODY_H
#define PF_WIRE_BODY_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* NULL and PF_ERR_PROTOCOL if it is not a strict body of that type. */
PF_MUST_USE void *pf_body_unpack(const ProtobufCMessageDescriptor *what, const uint8_t *in,
				 size_t length, struct pf_err *err);
/* Takes the address of the pointer; takes NULL in it. */
void pf_body_free(void *slot);
#define pf_auto_body __attribute__((cleanup(pf_body_free)))

/*
 * The same without the heap, for what is on the way of a fault: the message lives in the room, as long
 * as that does, and is not freed.  A body that needs more is refused: it is none of ours.
 */
struct pf_body_room {
	ProtobufCAllocator allocator;
	size_t used;
	_Alignas(16) uint8_t bytes[256];
};
PF_MUST_USE void *pf_body_unpack_into(struct pf_body_room *room,
				      const ProtobufCMessageDescriptor *what, const uint8_t *in,
				      size_t length, struct pf_err *err);

/* The packed length, or 0 if that is more than size. */
size_t pf_body_pack(const ProtobufCMessage *message, uint8_t *out, size_t size);

/* Text for people: whatever is not printable ASCII comes out as '?', what does not fit is cut. */
void pf_body_text(const char *in, char *out, size_t size);

#endif
