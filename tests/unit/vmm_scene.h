/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/vmm_scene.h - one user of the client library for VMMs, and its agent played by the
 * test, over a real socket.  One thread; nothing blocks; a failure is a failed cmocka assertion.
 */
#ifndef PF_TESTS_UNIT_VMM_SCENE_H
#define PF_TESTS_UNIT_VMM_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/unixsock.h"
#include "vmm/pageferry-vmm.h"
#include "wire/vmm_msg.h"

#define MIB (UINT64_C(1) << 20)

/* One VMM and its agent; the VMM notes what it is told. */
struct scene {
	char dir[32], path[64];
	int listen_fd, agent; /* the agent's end */
	struct pageferry_vmm *vmm;
	int fds_before;
	char told[256];
	bool vmm_tells_losses; /* describes its guest_memfd with machine_checks */
	bool answer; /* to PAUSE, LOAD and RESUME, from within the call */
	int state_fd;
	size_t state_size;
	struct pf_vmm_message heard; /* the VMM's last message, and what came with it */
	int fds[PF_UNIX_FDS_MAX];
	size_t fd_count;
};

/* The VMM notes each call in `told`; opaque is the scene. */
extern const struct pageferry_vmm_ops scene_ops;

/* Setup and teardown of a test.  Nothing of a scene outlives it: this is the test for leaks of
 * descriptors. */
int set_up(void **state);
int tear_down(void **state);

/* ---- the agent ---- */

void agent_says(struct scene *scene, const struct pf_vmm_message *msg, const int *fds,
		size_t count);
void agent_says_word(struct scene *scene, enum pf_vmm_type type);
/* A memfd of `size` bytes, announced as `announced`. */
void agent_says_load(struct scene *scene, size_t size, uint64_t announced);
/* The next message of the VMM, which must be of that type. */
void agent_hears(struct scene *scene, enum pf_vmm_type type);
void agent_hears_nothing(struct scene *scene);

/* ---- the VMM ---- */

/* From now on this thread has no memory for what send(2) sends (sendto), as at the limit of a control group. */
void send_nothing(void);
void connect_as(struct scene *scene, enum pageferry_role role);
void describe(struct scene *scene, bool destination);
/* Through hello and regions, with everything that the agent got taken off the socket. */
void begin(struct scene *scene, enum pageferry_role role);
/* Handles what waits, and the VMM was told just that. */
void dispatch(struct scene *scene, const char *told);
void assert_told(struct scene *scene, const char *what);
/* The result of a call, and what pageferry_vmm_error() says of it. */
void assert_fails_with(struct scene *scene, int result, const char *text);

#endif
