/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/device.h - a device that reads and writes guest memory from a thread of the VMM's own.
 *
 * As a disk's or a network card's would, so that on a destination the VMM, and neither a vCPU nor KVM,
 * is who waits for a page.  It writes back what it has read, and guest memory stays predictable.  A
 * vCPU is in its exit until its transfer is done, so that a parked machine has no device I/O left.
 */
#ifndef PF_GUEST_DEVICE_H
#define PF_GUEST_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct pf_device {
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* one transfer at a time */
	pthread_cond_t changed;
	volatile uint32_t *words; /* the transfer's; NULL: there is none */
	uint64_t done;
	bool end;
};

PF_MUST_USE int pf_device_start(struct pf_device *device, struct pf_err *err);
/* Takes one that was not started. */
void pf_device_stop(struct pf_device *device);
/* A vCPU's thread: reads PF_GUEST_ECHO_WORDS there and writes them back.  Waits until it is done. */
void pf_device_transfer(struct pf_device *device, void *words);

#endif
