/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/frame.h - the frame: a fixed header, big endian, and a body.  proto/WIRE.md, "Frames".
 *
 * pf_frame_check() is the one place where a header that came from the peer is judged: what it lets
 * through, the rest of the program may use without another look.  No I/O, no allocation.
 */
#ifndef PF_WIRE_FRAME_H
#define PF_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/page.h"

#define PF_FRAME_MAGIC 0x5046u /* "PF" */
#define PF_FRAME_VERSION 1u
#define PF_FRAME_HEADER_BYTES 32u
#define PF_BULK_BODY_MAX PF_RUN_BYTES_MAX
#define PF_URGENT_BODY_MAX (16u * 1024) /* one TLS record's worth: nothing waits behind more */
#define PF_REQUEST_PAGES_MAX 64u	/* pages in one REQUEST or PAGE_ERROR */

/* The number is what travels.  Direction, channel and body of each: the table in frame.c. */
enum pf_frame_type {
	PF_FRAME_HELLO = 1,	   /* protobuf Hello */
	PF_FRAME_WELCOME = 2,	   /* protobuf Welcome */
	PF_FRAME_REGIONS = 3,	   /* source: protobuf Regions */
	PF_FRAME_REGIONS_OK = 4,   /* destination: no body */
	PF_FRAME_PAUSED = 5,	   /* source, bulk 1, ahead of DEVICE: protobuf Paused */
	PF_FRAME_DEVICE = 6,	   /* source, bulk 1: raw; page = byte offset in the device state */
	PF_FRAME_READY = 7,	   /* destination: protobuf Verdict */
	PF_FRAME_COMMIT = 8,	   /* source: protobuf Verdict */
	PF_FRAME_RUN = 9,	   /* destination: protobuf Verdict, record RUN */
	PF_FRAME_RESUMED = 10,	   /* destination: no body; the VMM said RESUMED */
	PF_FRAME_REFUSED = 11,	   /* destination: protobuf Verdict, record REFUSED */
	PF_FRAME_ABORT = 12,	   /* source: protobuf Verdict: please write ABORTED */
	PF_FRAME_ABORTED = 13,	   /* destination: protobuf Verdict, record ABORTED */
	PF_FRAME_COMPLETE = 14,	   /* destination: every page is FILLED and mapped */
	PF_FRAME_COMPLETE_ACK = 15, /* source: heard; both may go */
	PF_FRAME_FAILURE = 16,	   /* either: protobuf Failure; the sender gives up */
	PF_FRAME_HEARTBEAT = 17,   /* either, urgent: no body; the sender lives */
	PF_FRAME_REQUEST = 32,	   /* destination, urgent: region, page, count; no body */
	PF_FRAME_PAGES = 33,	   /* source: region, page, count; raw page bytes */
	PF_FRAME_ZERO = 34,	   /* source: region, page, count; no body: those pages are zero */
	PF_FRAME_PAGE_ERROR = 35,  /* source: region, page, count; `extra` is an errno */
	PF_FRAME_CREDIT = 36,	   /* destination, bulk: page = bytes that may be sent there in all */
	PF_FRAME_RECEIVED = 37,	   /* destination, bulk 1: region, page, count; wire/received.h */
};

struct pf_frame {
	uint8_t type;	 /* enum pf_frame_type once checked */
	uint16_t region; /* index in the agreed table; 0 where unused */
	uint32_t epoch;	 /* 0 in HELLO, WELCOME and a FAILURE in place of WELCOME */
	uint32_t length; /* bytes of body that follow */
	uint64_t page;	 /* first page of the run, the byte offset of DEVICE, the bytes of CREDIT */
	uint32_t count;	 /* pages in the run; 0 where unused */
	uint32_t extra;	 /* errno of PAGE_ERROR; byte offset within a page larger than 64 KiB */
};

/* What the receiving end knows, and so what it can accept. */
struct pf_frame_rules {
	bool from_source; /* the sender is the source */
	bool urgent;	  /* which kind of connection it came on */
	uint32_t epoch;	  /* the connection's epoch; 0 before WELCOME: only HELLO, WELCOME and
			     FAILURE pass, and the first two only then */
	const struct pf_region_table *table; /* agreed; NULL: no frame that names pages passes */
	uint64_t device_state_size;	     /* announced by PAUSED; 0: no DEVICE frame passes */
};

void pf_frame_encode(const struct pf_frame *frame, uint8_t out[PF_FRAME_HEADER_BYTES]);
/*
 * Decodes and checks.  PF_ERR_PROTOCOL on anything but a frame this receiver may get now: magic,
 * version, type, direction, channel, epoch, length against type and channel, reserved bits, and
 * region, page and count against the table.  *out is filled only on 0.
 */
PF_MUST_USE int pf_frame_check(const uint8_t in[PF_FRAME_HEADER_BYTES],
			       const struct pf_frame_rules *rules, struct pf_frame *out,
			       struct pf_err *err);
const char *pf_frame_name(uint8_t type);

#endif
