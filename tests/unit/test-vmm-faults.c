/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-vmm-faults.c - stage-2 exits through the client library: each fault that is taken is
 * answered just once, whoever is first, and on a socket of its own.  The agent is played by the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/vmm_scene.h"

#define PAGE 4096u

static int memory_of(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Of the regions described below: page 7 will never come. */
static int bitmap_of_losses(void)
{
	const uint64_t page_7 = 1u << 7;
	int fd = memory_of("bitmap");

	assert_int_equal(ftruncate(fd, MIB / PAGE / 8), 0);
	assert_int_equal(pwrite(fd, &page_7, sizeof(page_7), 0), sizeof(page_7));
	return fd;
}

static int describe_guest_memfd(struct scene *scene, bool destination, bool with_bitmap)
{
	pf_auto_fd int memory = memory_of("memory"), bitmap = bitmap_of_losses();
	pf_auto_fd int uffd = memory_of("in place of a userfaultfd");
	const struct pageferry_region region = {
		.id = 1, .size = MIB, .page_size = PAGE, .kind = PAGEFERRY_GUEST_MEMFD,
		.fd = memory, .uffd = destination ? uffd : -1, .base = 0x7f0000000000,
		.bitmap_fd = with_bitmap ? bitmap : -1, .fill_atomic = true,
		.machine_checks = destination && with_bitmap && scene->vmm_tells_losses,
	};

	return pageferry_vmm_regions(scene->vmm, &region, 1);
}

/* With the agent's end of the fault socket in hand. */
static int begin_with_faults(struct scene *scene)
{
	int fd;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(describe_guest_memfd(scene, true, true), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_true(scene->heard.regions.has_fault_socket);
	fd = dup(scene->fds[scene->heard.regions.fault_socket]);
	assert_true(fd >= 0);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "regions_accepted load resume ");
	agent_hears(scene, PF_VMM_READY);
	agent_hears(scene, PF_VMM_RESUMED);
	return fd;
}

static bool agent_takes(int fd, int flags, struct pf_vmm_fault *out)
{
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	struct pf_err err = {0};
	ssize_t length = recv(fd, bytes, sizeof(bytes), flags);

	if (length <= 0)
		return false;
	if (pf_vmm_fault_unpack(bytes, (size_t)length, PF_VMM_FAULT, out, &err))
		fail_msg("%s", err.text);
	return true;
}

static void agent_resolves(int fd, uint32_t vcpu, uint64_t gpa)
{
	const struct pf_vmm_fault fault = {.vcpu = vcpu, .gpa = gpa};
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_RESOLVED, &fault, bytes);

	assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

static void dispatch_faults(struct scene *scene, const char *told)
{
	if (pageferry_vmm_dispatch_faults(scene->vmm))
		fail_msg("%s", pageferry_vmm_fault_error(scene->vmm));
	assert_told(scene, told);
}

static void a_guest_memfd_comes_with_its_bitmap_and_a_fault_socket(void **state)
{
	struct scene *scene = *state;
	const struct pf_vmm_regions *heard = &scene->heard.regions;
	struct stat st;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(pageferry_vmm_fault_fd(scene->vmm), -1);
	assert_int_equal(describe_guest_memfd(scene, true, true), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->fd_count, 4);
	assert_int_not_equal(heard->region[0].bitmap_fd, heard->region[0].fd);
	assert_int_not_equal(heard->region[0].bitmap_fd, PF_VMM_NO_FD);
	assert_true(heard->region[0].fill_atomic);
	assert_int_equal(fstat(scene->fds[heard->fault_socket], &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_true(pageferry_vmm_fault_fd(scene->vmm) >= 0);
}

/* Which the agent refuses with what the kernel would have to have; the library lets it say so. */
static void a_guest_memfd_without_a_bitmap_is_told_as_it_is(void **state)
{
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(describe_guest_memfd(scene, true, false), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->heard.regions.region[0].bitmap_fd, PF_VMM_NO_FD);
}

static int describe_memfd(struct scene *scene, bool named)
{
	pf_auto_fd int memory = memory_of("memory"), bitmap = bitmap_of_losses();
	const struct pageferry_region region = {
		.size = MIB, .page_size = PAGE, .kind = PAGEFERRY_MEMFD, .fd = memory, .uffd = -1,
		.bitmap_fd = bitmap, .lost_bitmap = named};

	return pageferry_vmm_regions(scene->vmm, &region, 1);
}

static void a_bitmap_of_lost_pages_comes_where_it_is_named(void **state)
{
	struct scene *scene = *state;

	for (unsigned named = 0; named < 2; named++) {
		if (named) {
			tear_down(state);
			set_up(state);
			scene = *state;
		}
		connect_as(scene, PAGEFERRY_SOURCE);
		agent_hears(scene, PF_VMM_HELLO);
		assert_int_equal(describe_memfd(scene, named), 0);
		agent_hears(scene, PF_VMM_REGIONS);
		assert_int_equal(scene->fd_count, 1 + named);
		assert_int_equal(scene->heard.regions.region[0].bitmap_fd != PF_VMM_NO_FD, named);
		assert_false(scene->heard.regions.has_fault_socket);
	}
}

static void other_memory_and_the_source_have_no_fault_socket(void **state)
{
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_SOURCE);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(describe_guest_memfd(scene, false, true), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->fd_count, 1);
	assert_false(scene->heard.regions.has_fault_socket);
	assert_false(scene->heard.regions.region[0].fill_atomic);
	tear_down(state);
	set_up(state);
	scene = *state;
	begin(scene, PAGEFERRY_DESTINATION); /* memfds */
	assert_false(scene->heard.regions.has_fault_socket);
	assert_int_equal(pageferry_vmm_fault_fd(scene->vmm), -1);
	errno = 0;
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 0, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(pageferry_vmm_dispatch_faults(scene->vmm), -1);
	assert_string_equal(pageferry_vmm_fault_error(scene->vmm), "there is no fault socket");
}

static void a_refused_description_leaves_no_socket_and_can_be_mended(void **state)
{
	struct pageferry_region bad = {.kind = PAGEFERRY_GUEST_MEMFD, .size = 100, .page_size = PAGE};
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(pageferry_vmm_regions(scene->vmm, &bad, 1), -1);
	assert_int_equal(pageferry_vmm_fault_fd(scene->vmm), -1);
	assert_int_equal(describe_guest_memfd(scene, true, true), 0);
	/* Out of turn: what is there stays. */
	assert_int_equal(describe_guest_memfd(scene, true, true), -1);
	assert_true(pageferry_vmm_fault_fd(scene->vmm) >= 0);
}

static void a_fault_travels_and_is_resolved_once(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);
	struct pf_vmm_fault fault;

	assert_int_equal(pageferry_vmm_fault(scene->vmm, 7, 5 * PAGE + 123), 0);
	assert_true(agent_takes(agent, MSG_DONTWAIT, &fault));
	assert_int_equal(fault.vcpu, 7);
	assert_int_equal(fault.gpa, 5 * PAGE);
	dispatch_faults(scene, "");
	agent_resolves(agent, 7, 6 * PAGE); /* not what it waits for */
	agent_resolves(agent, 6, 5 * PAGE); /* not who */
	dispatch_faults(scene, "");
	agent_resolves(agent, 7, 5 * PAGE);
	agent_resolves(agent, 7, 5 * PAGE);
	dispatch_faults(scene, "resolved 7 at 0x5000 ");
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 7, 5 * PAGE), 0);
	agent_resolves(agent, 7, 5 * PAGE);
	dispatch_faults(scene, "resolved 7 at 0x5000 ");
}

/* A new agent may have to be told again. */
static void asked_twice_for_the_same_page_it_is_one_fault(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);
	struct pf_vmm_fault fault;

	assert_int_equal(pageferry_vmm_fault(scene->vmm, 0, 0), 0);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 0, 0), 0);
	for (int i = 0; i < 2; i++) {
		assert_true(agent_takes(agent, MSG_DONTWAIT, &fault));
		agent_resolves(agent, fault.vcpu, fault.gpa);
	}
	dispatch_faults(scene, "resolved 0 at 0x0 ");
}

static void complete_answers_what_is_open_and_what_comes_late(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);

	assert_int_equal(pageferry_vmm_fault(scene->vmm, 1023, UINT64_MAX), 0);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 2, PAGE), 0);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "resolved 2 at 0x1000 resolved 1023 at 0xfffffffffffff000 complete ");
	agent_resolves(agent, 2, PAGE); /* on its way when `complete` came */
	dispatch_faults(scene, "");
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 2, PAGE), 1);
	pf_close_fd(&agent);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 2, PAGE), 1);
	assert_int_equal(pageferry_vmm_dispatch_faults(scene->vmm), -1);
	assert_string_equal(pageferry_vmm_fault_error(scene->vmm),
			    "the agent closed the fault socket");
}

static void a_lost_page_is_told_as_that_once(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);
	const struct pf_vmm_fault lost = {.vcpu = 3, .gpa = 7 * PAGE, .lost = true};
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_RESOLVED, &lost, bytes);

	assert_int_equal(pageferry_vmm_fault(scene->vmm, 3, 7 * PAGE + 5), 0);
	assert_int_equal(send(agent, bytes, length, MSG_NOSIGNAL), length);
	assert_int_equal(send(agent, bytes, length, MSG_NOSIGNAL), length);
	dispatch_faults(scene, "lost 3 at 0x7000 ");
}

/* The two sockets have no order: COMPLETE is read while the answer waits on the other one. */
static void a_lost_page_is_lost_at_complete_and_after_it(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = (scene->vmm_tells_losses = true, begin_with_faults(scene));
	const struct pf_vmm_fault lost = {.vcpu = 3, .gpa = 7 * PAGE, .lost = true};
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_RESOLVED, &lost, bytes);

	assert_int_equal(pageferry_vmm_fault(scene->vmm, 3, 7 * PAGE), 0);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 4, 6 * PAGE), 0);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 5, 2 * MIB), 0);
	assert_int_equal(send(agent, bytes, length, MSG_NOSIGNAL), length);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "lost 3 at 0x7000 resolved 4 at 0x6000 resolved 5 at 0x200000 complete ");
	dispatch_faults(scene, "");
	for (int again = 0; again < 2; again++) {
		assert_int_equal(pageferry_vmm_fault(scene->vmm, 3, 7 * PAGE + 9), 2);
		assert_int_equal(pageferry_vmm_fault(scene->vmm, 4, 8 * PAGE), 1);
	}
	assert_told(scene, "");
}

static void who_declares_machine_checks_has_somebody_to_tell(void **state)
{
	struct pageferry_vmm_ops deaf = scene_ops;
	struct scene *scene = *state;
	struct pageferry_vmm *vmm;
	char reason[256];
	pf_auto_fd int memory = memory_of("memory"), bitmap = memory_of("bitmap");
	const struct pageferry_region region = {
		.id = 1, .size = MIB, .page_size = PAGE, .kind = PAGEFERRY_GUEST_MEMFD, .fd = memory,
		.uffd = memory, .bitmap_fd = bitmap, .machine_checks = true,
	};

	deaf.lost = NULL;
	vmm = pageferry_vmm_connect(scene->path, PAGEFERRY_DESTINATION, NULL, 0, &deaf, scene, reason,
				    sizeof(reason));
	assert_non_null(vmm);
	assert_int_equal(pageferry_vmm_regions(vmm, &region, 1), -1);
	assert_string_equal(pageferry_vmm_error(vmm),
			    "region with id 1: machine_checks, and there is no `lost` to call");
	pageferry_vmm_close(vmm);
}

static void a_fault_that_cannot_be_told_fails(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);

	assert_int_equal(pageferry_vmm_fault(scene->vmm, PF_VMM_VCPUS_MAX, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_true(agent >= 0);
}

/* It ends right after COMPLETE, and a vCPU that left before asks before that is read. */
static void an_agent_that_is_gone_may_have_said_complete(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);

	agent_says_word(scene, PF_VMM_COMPLETE);
	for (size_t i = 0; i < scene->fd_count; i++)
		pf_close_fd(&scene->fds[i]);
	scene->fd_count = 0;
	pf_close_fd(&agent);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 0, 0), 0);
	dispatch(scene, "resolved 0 at 0x0 complete ");
}

static void on_alarm(int number)
{
	(void)number;
}

static void a_vcpu_can_be_called_away_from_an_agent_that_does_not_read(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);
	const struct itimerval often = {{0, 50000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = on_alarm}, before;
	int result = 0, sys = 0;

	assert_true(agent >= 0); /* there, and not reading */
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (uint32_t vcpu = 0; result == 0 && vcpu < PF_VMM_VCPUS_MAX; vcpu++) {
		result = pageferry_vmm_fault(scene->vmm, vcpu, PAGE);
		sys = errno;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	assert_int_equal(result, -1); /* a socket holds a few hundred */
	assert_int_equal(sys, EINTR);
}

/* A vCPU's thread at the limit of its control group. */
struct starved {
	struct pageferry_vmm *vmm;
	pthread_t thread;
	_Atomic int tid;
	_Atomic bool done;
	int result, sys;
};

static void *ask_without_memory(void *opaque)
{
	struct starved *starved = opaque;

	send_nothing();
	atomic_store(&starved->tid, (int)syscall(SYS_gettid));
	starved->result = pageferry_vmm_fault(starved->vmm, 3, PAGE);
	starved->sys = errno;
	atomic_store(&starved->done, true);
	return NULL;
}

/* proc_pid_syscall(5): in poll(2), where it waits to try again, it has asked once in vain. */
static bool waits(const struct starved *starved)
{
	char path[64], said[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", atomic_load(&starved->tid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, said, sizeof(said) - 1) < 0)
		said[0] = '\0';
	pf_close_fd(&fd);
	return strtol(said, NULL, 10) == SYS_poll;
}

static void starve(struct starved *starved, struct scene *scene)
{
	*starved = (struct starved){.vmm = scene->vmm};
	assert_int_equal(pthread_create(&starved->thread, NULL, ask_without_memory, starved), 0);
	while (!atomic_load(&starved->done) && !waits(starved))
		sched_yield();
}

/* It is no error of the vCPU's, and to give up would leave it waiting for nobody. */
static void a_fault_that_there_is_no_memory_to_tell_of_waits(void **state)
{
	struct scene *scene = *state;
	pf_auto_fd int agent = begin_with_faults(scene);
	struct sigaction action = {.sa_handler = on_alarm}, before;
	struct starved starved;

	assert_true(agent >= 0);
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	starve(&starved, scene);
	while (!atomic_load(&starved.done)) {
		pthread_kill(starved.thread, SIGALRM);
		sched_yield();
	}
	pthread_join(starved.thread, NULL);
	sigaction(SIGALRM, &before, NULL);
	assert_int_equal(starved.result, -1);
	assert_int_equal(starved.sys, EINTR);
	/* Everything else has come meanwhile: this page too. */
	starve(&starved, scene);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "resolved 3 at 0x1000 complete ");
	pthread_join(starved.thread, NULL);
	assert_int_equal(starved.result, 0);
}

static void an_agent_that_says_anything_but_resolved_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
		const char *text;
	} wrongs[] = {
		{"\x3a\0", 2, "from the agent: a FAULT message on the fault socket"},
		{"\xaa\x01\0", 3, "from the agent: a COMPLETE message on the fault socket"},
		{"\xa2\x01\x03\x08\x80\x08", 6, "from the agent: a RESOLVED message for vCPU 1024"},
		{"\xa2\x01\0                                       ", 40,
		 "from the agent: a message of 40 bytes on the fault socket; 1 to 32 are allowed"},
	};

	for (size_t i = 0; i < PF_ARRAY_LEN(wrongs); i++) {
		struct scene *scene;
		int agent;

		set_up(state);
		scene = *state;
		agent = begin_with_faults(scene);
		assert_int_equal(send(agent, wrongs[i].bytes, wrongs[i].length, 0),
				 wrongs[i].length);
		assert_int_equal(pageferry_vmm_dispatch_faults(scene->vmm), -1);
		assert_string_equal(pageferry_vmm_fault_error(scene->vmm), wrongs[i].text);
		close(agent);
		tear_down(state);
	}
}

/* ---- many vCPUs, an agent that answers, and `complete` in the middle of it ---- */

#define VCPUS 8u
#define FAULTS 400u

struct crowd {
	struct pageferry_vmm *vmm;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	uint32_t answers[VCPUS]; /* under the lock */
	_Atomic uint32_t asked;
	int agent;
};

struct vcpu {
	struct crowd *crowd;
	uint32_t number, taken;
	pthread_t thread;
};

static void crowd_resolved(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	struct crowd *crowd = opaque;

	(void)gpa;
	pthread_mutex_lock(&crowd->lock);
	crowd->answers[vcpu]++;
	pthread_cond_broadcast(&crowd->answered);
	pthread_mutex_unlock(&crowd->lock);
}

static const struct pageferry_vmm_ops crowd_ops = {.resolved = crowd_resolved};

static void *run_vcpu(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct crowd *crowd = vcpu->crowd;

	for (uint32_t i = 0; i < FAULTS; i++) {
		int result = pageferry_vmm_fault(crowd->vmm, vcpu->number, (uint64_t)i * PAGE);

		atomic_fetch_add(&crowd->asked, 1);
		if (result != 0)
			continue;
		vcpu->taken++;
		pthread_mutex_lock(&crowd->lock);
		while (crowd->answers[vcpu->number] < vcpu->taken)
			pthread_cond_wait(&crowd->answered, &crowd->lock);
		pthread_mutex_unlock(&crowd->lock);
	}
	return NULL;
}

static void *run_agent(void *opaque)
{
	struct crowd *crowd = opaque;
	struct pf_vmm_fault fault;

	while (agent_takes(crowd->agent, 0, &fault)) {
		agent_resolves(crowd->agent, fault.vcpu, fault.gpa);
		if (fault.gpa % (3 * PAGE) == 0)
			agent_resolves(crowd->agent, fault.vcpu, fault.gpa);
	}
	return NULL;
}

static void *run_dispatch(void *opaque)
{
	struct crowd *crowd = opaque;
	char byte;

	/* Looks and waits, until the agent hangs up. */
	while (pageferry_vmm_dispatch_faults(crowd->vmm) == 0)
		(void)!recv(pageferry_vmm_fault_fd(crowd->vmm), &byte, 1, MSG_PEEK);
	return NULL;
}

static void run_crowd(struct crowd *crowd, struct scene *scene, struct vcpu *vcpus)
{
	pthread_t agent, dispatcher;

	assert_int_equal(pthread_create(&agent, NULL, run_agent, crowd), 0);
	assert_int_equal(pthread_create(&dispatcher, NULL, run_dispatch, crowd), 0);
	for (uint32_t i = 0; i < VCPUS; i++) {
		vcpus[i] = (struct vcpu){.crowd = crowd, .number = i};
		assert_int_equal(pthread_create(&vcpus[i].thread, NULL, run_vcpu, &vcpus[i]), 0);
	}
	while (atomic_load(&crowd->asked) < VCPUS * FAULTS / 2)
		sched_yield();
	agent_says_word(scene, PF_VMM_COMPLETE);
	assert_int_equal(pageferry_vmm_dispatch(crowd->vmm), 0);
	for (uint32_t i = 0; i < VCPUS; i++)
		pthread_join(vcpus[i].thread, NULL);
	/* It may still be answering somebody twice, and must be able to. */
	shutdown(crowd->agent, SHUT_RD);
	pthread_join(agent, NULL);
	shutdown(crowd->agent, SHUT_RDWR);
	pthread_join(dispatcher, NULL);
}

static void each_fault_of_many_vcpus_is_answered_just_once(void **state)
{
	struct crowd crowd = {.lock = PTHREAD_MUTEX_INITIALIZER,
			      .answered = PTHREAD_COND_INITIALIZER};
	struct scene *scene = *state;
	struct vcpu vcpus[VCPUS];
	uint32_t taken = 0;

	crowd.vmm = scene->vmm = pageferry_vmm_connect(scene->path, PAGEFERRY_DESTINATION, NULL, 0,
						       &crowd_ops, &crowd, NULL, 0);
	assert_non_null(crowd.vmm);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(describe_guest_memfd(scene, true, true), 0);
	agent_hears(scene, PF_VMM_HELLO);
	agent_hears(scene, PF_VMM_REGIONS);
	crowd.agent = scene->fds[scene->heard.regions.fault_socket];
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	assert_int_equal(pageferry_vmm_dispatch(crowd.vmm), 0);
	assert_int_equal(pageferry_vmm_ready(crowd.vmm), 0);
	agent_says_word(scene, PF_VMM_RESUME);
	assert_int_equal(pageferry_vmm_dispatch(crowd.vmm), 0);
	assert_int_equal(pageferry_vmm_resumed(crowd.vmm), 0);
	run_crowd(&crowd, scene, vcpus);
	for (uint32_t i = 0; i < VCPUS; i++) {
		assert_int_equal(crowd.answers[i], vcpus[i].taken);
		taken += vcpus[i].taken;
	}
	/* Both ways were gone. */
	assert_in_range(taken, VCPUS * FAULTS / 2 - VCPUS, VCPUS * FAULTS - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_guest_memfd_comes_with_its_bitmap_and_a_fault_socket),
		TEST(a_guest_memfd_without_a_bitmap_is_told_as_it_is),
		TEST(a_bitmap_of_lost_pages_comes_where_it_is_named),
		TEST(other_memory_and_the_source_have_no_fault_socket),
		TEST(a_refused_description_leaves_no_socket_and_can_be_mended),
		TEST(a_fault_travels_and_is_resolved_once),
		TEST(asked_twice_for_the_same_page_it_is_one_fault),
		TEST(complete_answers_what_is_open_and_what_comes_late),
		TEST(a_lost_page_is_told_as_that_once),
		TEST(a_lost_page_is_lost_at_complete_and_after_it),
		TEST(who_declares_machine_checks_has_somebody_to_tell),
		TEST(a_fault_that_cannot_be_told_fails),
		TEST(an_agent_that_is_gone_may_have_said_complete),
		TEST(a_vcpu_can_be_called_away_from_an_agent_that_does_not_read),
		TEST(a_fault_that_there_is_no_memory_to_tell_of_waits),
		cmocka_unit_test(an_agent_that_says_anything_but_resolved_is_refused),
		TEST(each_fault_of_many_vcpus_is_answered_just_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
