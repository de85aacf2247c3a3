/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/agent_double.c - see tests/guest/agent_double.h; ioctl_userfaultfd(2). */
#include "tests/guest/agent_double.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "tests/guest/layout.h"

#define WAIT_MS 60000
#define PAGE 4096u

/* Received descriptors that the caller keeps; all others are closed. */
struct received {
	struct pf_vmm_message message;
	size_t fd_count;
	int fd[PF_UNIX_FDS_MAX];
};

static void wait_readable(int fd, const char *what)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	if (poll(&pollfd, 1, WAIT_MS) != 1)
		fail_msg("no %s for %d ms", what, WAIT_MS);
}

static void receive(struct pf_double *agent, struct received *out)
{
	static uint8_t buffer[PF_VMM_MESSAGE_MAX];
	struct pf_err err = {0};
	ssize_t length;

	wait_readable(agent->socket, "message of the VMM");
	length = pf_unix_recv(agent->socket, buffer, sizeof(buffer), 0, out->fd, &out->fd_count,
			      &err);
	if (length <= 0)
		fail_msg("the VMM is gone: %s", err.text);
	if (pf_vmm_msg_unpack(buffer, (size_t)length, false, out->fd_count, &out->message, &err))
		fail_msg("the VMM said what it must not: %s", err.text);
}

static void expect(struct pf_double *agent, struct received *out, enum pf_vmm_type type)
{
	receive(agent, out);
	if (out->message.type != type)
		fail_msg("expected %s, the VMM said %s", pf_vmm_type_name(type),
			 pf_vmm_type_name(out->message.type));
}

void pf_double_listen(struct pf_double *agent, const char *directory, const char *name)
{
	static unsigned number; /* a test that failed may have left its sockets */
	struct pf_err err = {0};

	memset(agent, 0, sizeof(*agent));
	agent->socket = agent->memory_fd = agent->uffd = -1;
	assert_in_range(
		snprintf(agent->path, sizeof(agent->path), "%s/%s-%u", directory, name, number++),
		1, sizeof(agent->path) - 1);
	agent->listener = pf_unix_listen(agent->path, SOCK_SEQPACKET, &err);
	if (agent->listener < 0)
		fail_msg("%s", err.text);
}

void pf_double_meet(struct pf_double *agent)
{
	static struct received got;
	struct stat st;

	wait_readable(agent->listener, "VMM connected");
	agent->socket = accept4(agent->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(agent->socket >= 0);
	expect(agent, &got, PF_VMM_HELLO);
	assert_int_equal(got.fd_count, 0);
	assert_in_range(got.message.hello.vcpu_count, 1, 4);
	agent->destination = got.message.hello.destination;
	expect(agent, &got, PF_VMM_REGIONS);
	agent->regions = got.message.regions;
	/* All regions share a memfd, and on the destination a userfaultfd; there each has a bitmap of lost pages. */
	assert_int_equal(got.fd_count, agent->destination ? 2 + agent->regions.count : 1);
	agent->memory_fd = got.fd[agent->regions.region[0].fd];
	assert_int_equal(fstat(agent->memory_fd, &st), 0);
	agent->pages = (uint64_t)st.st_size / PAGE;
	agent->present = calloc(agent->pages, 1);
	assert_non_null(agent->present);
	if (agent->destination)
		agent->uffd = got.fd[agent->regions.region[0].mapping[0].uffd];
	for (uint32_t r = 0; agent->destination && r < agent->regions.count; r++) /* it loses none */
		pf_close_fd(&got.fd[agent->regions.region[r].bitmap_fd]);
}

void pf_double_close(struct pf_double *agent)
{
	pf_close_fd(&agent->socket);
	pf_close_fd(&agent->listener);
	pf_close_fd(&agent->memory_fd);
	pf_close_fd(&agent->uffd);
	unlink(agent->path);
	free(agent->present);
	agent->present = NULL;
}

void pf_double_tell(struct pf_double *agent, enum pf_vmm_type type, int fd, uint64_t size)
{
	static uint8_t buffer[PF_VMM_MESSAGE_MAX];
	static struct pf_vmm_message message;
	struct pf_err err = {0};
	size_t length;

	memset(&message, 0, sizeof(message));
	message.type = type;
	if (type == PF_VMM_LOAD)
		message.state.size = size;
	length = pf_vmm_msg_pack(&message, buffer);
	assert_true(length > 0);
	if (pf_unix_send(agent->socket, buffer, length, &fd, fd >= 0 ? 1 : 0, &err))
		fail_msg("%s", err.text);
}

int pf_double_wait_paused(struct pf_double *agent, uint64_t *size)
{
	static struct received got;

	expect(agent, &got, PF_VMM_PAUSED);
	assert_int_equal(got.fd_count, 1);
	*size = got.message.state.size;
	return got.fd[0];
}

void pf_double_trap(struct pf_double *agent)
{
	for (uint32_t i = 0; i < agent->regions.count; i++) {
		const struct pf_vmm_region *region = &agent->regions.region[i];
		struct uffdio_register registration = {
			.range = {region->mapping[0].base, region->shape.size},
			.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
		};

		assert_int_equal(ioctl(agent->uffd, UFFDIO_REGISTER, &registration), 0);
	}
	pf_double_tell(agent, PF_VMM_REGIONS_ACCEPTED, -1, 0);
}

/* Where a page of the memory file is in the VMM's address space. */
static uint64_t address_of(const struct pf_double *agent, uint64_t page)
{
	for (uint32_t i = 0; i < agent->regions.count; i++) {
		const struct pf_vmm_region *region = &agent->regions.region[i];
		uint64_t within = page * PAGE - region->offset;

		if (page * PAGE >= region->offset && within < region->shape.size)
			return region->mapping[0].base + within;
	}
	fail_msg("no region has page %llu", (unsigned long long)page);
	return 0;
}

static uint64_t page_at(const struct pf_double *agent, uint64_t address)
{
	for (uint32_t i = 0; i < agent->regions.count; i++) {
		const struct pf_vmm_region *region = &agent->regions.region[i];
		uint64_t within = address - region->mapping[0].base;

		if (address >= region->mapping[0].base && within < region->shape.size)
			return (region->offset + within) / PAGE;
	}
	fail_msg("a fault outside every region, at 0x%llx", (unsigned long long)address);
	return 0;
}

/* Brings a page, if it is not there yet, and lets its waiters go on. */
static void place(struct pf_double *agent, int source_memory, uint64_t page)
{
	struct uffdio_continue map = {.range = {address_of(agent, page), PAGE}};
	unsigned char bytes[PAGE];

	if (!agent->present[page]) {
		off_t at = (off_t)(page * PAGE);

		assert_int_equal(pread(source_memory, bytes, PAGE, at), PAGE);
		assert_int_equal(pwrite(agent->memory_fd, bytes, PAGE, at), PAGE);
		agent->present[page] = 1;
	}
	while (ioctl(agent->uffd, UFFDIO_CONTINUE, &map) != 0) {
		if (errno == EEXIST) { /* mapped already: whoever waits just faults again */
			assert_int_equal(ioctl(agent->uffd, UFFDIO_WAKE, &map.range), 0);
			return;
		}
		assert_int_equal(errno, EAGAIN);
	}
}

void pf_double_wait_fault(struct pf_double *agent)
{
	wait_readable(agent->uffd, "fault");
}

void pf_double_drop_pages(struct pf_double *agent)
{
	assert_int_equal(fallocate(agent->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   (off_t)(agent->pages * PAGE)),
			 0);
	memset(agent->present, 0, agent->pages);
}

static bool serve_one(struct pf_double *agent, int source_memory)
{
	struct uffd_msg fault;
	ssize_t got = read(agent->uffd, &fault, sizeof(fault));

	if (got < 0) {
		assert_int_equal(errno, EAGAIN);
		return false;
	}
	assert_int_equal(got, sizeof(fault));
	assert_int_equal(fault.event, UFFD_EVENT_PAGEFAULT);
	place(agent, source_memory, page_at(agent, fault.arg.pagefault.address));
	agent->faults++;
	return true;
}

/* Once every page that the vCPUs walk is here, no fault need ever come again. */
static bool faults_can_come(const struct pf_double *agent)
{
	return memchr(agent->present + PF_GUEST_LOW_END / PAGE, 0,
		      agent->pages - PF_GUEST_LOW_END / PAGE);
}

void pf_double_serve_until(struct pf_double *agent, int source_memory, enum pf_vmm_type type)
{
	static struct received got;

	for (;;) {
		struct pollfd fds[] = {{.fd = agent->uffd, .events = POLLIN},
				       {.fd = agent->socket, .events = POLLIN}};

		if (poll(fds, 2, WAIT_MS) < 1)
			fail_msg("neither a fault nor %s for %d ms", pf_vmm_type_name(type),
				 WAIT_MS);
		if (fds[1].revents) {
			expect(agent, &got, type);
			return;
		}
		/* One at a time: a guest that faults without end must not drown its VMM's word. */
		serve_one(agent, source_memory);
	}
}

void pf_double_serve_until_gone(struct pf_double *agent, int source_memory)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = agent->uffd, .events = POLLIN},
				       {.fd = agent->socket, .events = POLLIN}};
		char byte;

		if (poll(fds, 2, WAIT_MS) < 1)
			fail_msg("neither a fault nor an end for %d ms", WAIT_MS);
		if (fds[1].revents) {
			assert_int_equal(recv(agent->socket, &byte, 1, 0), 0);
			return;
		}
		serve_one(agent, source_memory);
	}
}

void pf_double_serve_all(struct pf_double *agent, int source_memory, uint64_t faults_first)
{
	uint64_t enough = agent->faults + faults_first;

	while (agent->faults < enough && faults_can_come(agent)) {
		wait_readable(agent->uffd, "fault");
		serve_one(agent, source_memory);
	}
	for (uint64_t page = 0; page < agent->pages; page++) {
		if (!agent->present[page])
			place(agent, source_memory, page);
		while (serve_one(agent, source_memory))
			;
	}
}

void pf_double_complete(struct pf_double *agent)
{
	for (uint32_t i = 0; i < agent->regions.count; i++) {
		const struct pf_vmm_region *region = &agent->regions.region[i];
		struct uffdio_range range = {region->mapping[0].base, region->shape.size};

		/* Unregistering wakes whoever waits. */
		assert_int_equal(ioctl(agent->uffd, UFFDIO_UNREGISTER, &range), 0);
	}
	pf_double_tell(agent, PF_VMM_COMPLETE, -1, 0);
}
