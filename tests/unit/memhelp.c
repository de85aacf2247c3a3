/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/memhelp.c - see tests/unit/memhelp.h. */
#include "memhelp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/unixsock.h"

bool uffd_refused(void)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		printf("SKIP: userfaultfd(2) is refused here: %s\n", strerror(errno));
		return true;
	}
	close((int)fd);
	return false;
}

unsigned test_seed(void)
{
	const char *given = getenv("PAGEFERRY_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)pf_now_ns();

	printf("PAGEFERRY_SEED=%u\n", seed);
	return seed;
}

int dir_make(void)
{
	const char *base = getenv("TMPDIR");
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/pageferry-memory-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void dir_remove(int dirfd)
{
	char link[48], path[256];
	struct dirent *entry;
	ssize_t length;
	DIR *dir;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	length = readlink(link, path, sizeof(path) - 1);
	assert_true(length > 0);
	path[length] = '\0';
	dir = fdopendir(dirfd);
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd, entry->d_name, 0), 0);
	closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

uint64_t page_word(uint64_t page)
{
	return UINT64_C(0x5041474500000001) + page * UINT64_C(0x100000007);
}

void page_fill(uint8_t *bytes, uint64_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t word = page_word(first + i);

		for (size_t at = 0; at < PAGE; at += sizeof(word))
			memcpy(bytes + (size_t)i * PAGE + at, &word, sizeof(word));
	}
}

struct told {
	uint32_t op;
	uint32_t mapping;
	uint64_t page;
	uint64_t value;
};

struct task {
	struct told told;
	struct vmm_memory memory;
	volatile uint64_t *at;
	int sock;
};

static uint64_t do_call(const struct task *task)
{
	uint64_t (*function)(const struct vmm_memory *memory, uint64_t argument);
	uintptr_t address = (uintptr_t)task->told.value;

	memcpy(&function, &address, sizeof(function));
	return function(&task->memory, task->told.page);
}

static void *do_task(void *argument)
{
	struct task *task = argument;
	struct vmm_reply reply = {
		.op = task->told.op, .mapping = task->told.mapping, .page = task->told.page};
	void *at = (void *)(uintptr_t)task->at;

	switch (task->told.op) {
	case VMM_READ:
		reply.value = task->at[0];
		reply.uniform = true;
		for (size_t i = 1; i < PAGE / sizeof(uint64_t); i++)
			reply.uniform = reply.uniform && task->at[i] == reply.value;
		break;
	case VMM_WRITE:
		task->at[0] = task->told.value;
		break;
	case VMM_REMOVE:
		reply.failed = madvise(at, PAGE, MADV_REMOVE) ? errno : 0;
		break;
	case VMM_DONTNEED:
		reply.failed = madvise(at, PAGE, MADV_DONTNEED) ? errno : 0;
		break;
	case VMM_DONTDUMP: /* a VMA of its own from now on */
		reply.failed = madvise(at, PAGE, MADV_DONTDUMP) ? errno : 0;
		break;
	case VMM_UNMAP:
		reply.failed = munmap(at, PAGE) ? errno : 0;
		break;
	case VMM_REPLACE:
		/*
		 * By memory of its own, which does not trap.  Not mmap(): a thread that is blocked
		 * in reading this very page is the purpose, and TSan calls that a race with it.
		 */
		reply.failed = syscall(SYS_mmap, at, PAGE, PROT_READ,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == -1
				       ? errno
				       : 0;
		break;
	case VMM_CALL:
		reply.value = do_call(task);
		break;
	}
	(void)!send(task->sock, &reply, sizeof(reply), MSG_NOSIGNAL);
	free(task);
	return NULL;
}

static void serve_tasks(int sock, uint8_t *const *base, int memfd)
{
	struct told told;

	while (recv(sock, &told, sizeof(told), 0) == sizeof(told)) {
		struct task *task = malloc(sizeof(*task));
		pthread_t thread;

		if (!task)
			_exit(1);
		*task = (struct task){
			.told = told, .memory = {base[told.mapping], memfd}, .sock = sock};
		if (told.op != VMM_CALL)
			task->at = (void *)(base[told.mapping] + told.page * PAGE);
		if (pthread_create(&thread, NULL, do_task, task))
			_exit(1);
		pthread_detach(thread);
	}
	_exit(0);
}

static int new_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 ? fd : -1;
}

static void run_vmm(int sock, const struct vmm *vmm, uint64_t pages, uint64_t features)
{
	uint64_t where[VMM_MAPPINGS] = {0};
	uint8_t *base[VMM_MAPPINGS];
	int uffd[VMM_MAPPINGS];
	struct pf_err err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t m = 0; m < vmm->mappings; m++) {
		base[m] = vmm->memfd == VMM_PRIVATE
				  ? mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
				  : mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
					 vmm->memfd, 0);
		uffd[m] = new_uffd(features);
		if (base[m] == MAP_FAILED || uffd[m] < 0)
			_exit(1);
		where[m] = (uint64_t)(uintptr_t)base[m];
	}
	if (pf_unix_send(sock, where, sizeof(where), uffd, vmm->mappings, &err))
		_exit(1);
	/* As a VMM that has handed over: the agent's copies are the last ones. */
	for (uint32_t m = 0; m < vmm->mappings; m++)
		close(uffd[m]);
	serve_tasks(sock, base, vmm->memfd);
}

void vmm_start(struct vmm *vmm, uint64_t pages, uint32_t mappings, uint64_t features, int memfd)
{
	int sock[2], fds[PF_UNIX_FDS_MAX];
	struct stat st;
	size_t count;
	struct pf_err err;

	memset(vmm, 0, sizeof(*vmm));
	vmm->mappings = mappings;
	vmm->memfd = memfd == -1 ? memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING) : memfd;
	assert_int_not_equal(vmm->memfd, -1);
	if (vmm->memfd != VMM_PRIVATE && fstat(vmm->memfd, &st) == 0 && st.st_size == 0)
		assert_int_equal(ftruncate(vmm->memfd, (off_t)(pages * PAGE)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	vmm->pid = fork();
	assert_true(vmm->pid >= 0);
	if (vmm->pid == 0) {
		close(sock[0]);
		run_vmm(sock[1], vmm, pages, features);
	}
	close(sock[1]);
	vmm->sock = sock[0];
	wait_readable(vmm->sock);
	assert_int_equal(
		pf_unix_recv(vmm->sock, vmm->base, sizeof(vmm->base), 0, fds, &count, &err),
		sizeof(vmm->base));
	assert_int_equal(count, mappings);
	for (uint32_t m = 0; m < mappings; m++)
		vmm->uffd[m] = fds[m];
}

void vmm_kill(struct vmm *vmm)
{
	int status;

	if (vmm->pid <= 0)
		return;
	assert_int_equal(kill(vmm->pid, SIGKILL), 0);
	assert_int_equal(waitpid(vmm->pid, &status, 0), vmm->pid);
	vmm->pid = 0;
}

void vmm_stop(struct vmm *vmm)
{
	vmm_kill(vmm);
	close(vmm->sock);
	if (vmm->memfd != VMM_PRIVATE)
		close(vmm->memfd);
	for (uint32_t m = 0; m < vmm->mappings; m++)
		close(vmm->uffd[m]);
}

void vmm_tell(const struct vmm *vmm, enum vmm_op op, uint32_t mapping, uint64_t page,
	      uint64_t value)
{
	struct told told = {op, mapping, page, value};

	assert_int_equal(send(vmm->sock, &told, sizeof(told), MSG_NOSIGNAL), sizeof(told));
}

void vmm_call(const struct vmm *vmm,
	      uint64_t (*function)(const struct vmm_memory *memory, uint64_t argument),
	      uint32_t mapping, uint64_t argument)
{
	uintptr_t address;

	memcpy(&address, &function, sizeof(address));
	vmm_tell(vmm, VMM_CALL, mapping, argument, address);
}

void wait_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poller, 1, DEADLINE_MS), 1);
	assert_true(poller.revents & POLLIN);
}

struct vmm_reply vmm_reply(const struct vmm *vmm)
{
	struct vmm_reply reply;

	wait_readable(vmm->sock);
	assert_int_equal(recv(vmm->sock, &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(reply.failed, 0);
	return reply;
}

static unsigned uffd_counter(int uffd, const char *name)
{
	char path[48], line[256];
	unsigned value = UINT_MAX;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	info = fopen(path, "re");
	assert_non_null(info);
	while (value == UINT_MAX && fgets(line, sizeof(line), info))
		if (strncmp(line, name, strlen(name)) == 0)
			value = (unsigned)strtoul(line + strlen(name), NULL, 10);
	fclose(info);
	assert_int_not_equal(value, UINT_MAX);
	return value;
}

unsigned uffd_pending(int uffd)
{
	return uffd_counter(uffd, "pending:");
}

unsigned uffd_blocked(int uffd)
{
	return uffd_counter(uffd, "total:");
}

bool file_has_page(int fd, uint64_t page)
{
	void *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, (off_t)(page * PAGE));
	unsigned char there = 0;

	assert_true(at != MAP_FAILED);
	assert_int_equal(mincore(at, PAGE, &there), 0);
	munmap(at, PAGE);
	return there & 1;
}

int tmpfs_file(const char *options)
{
	char path[] = "/tmp/pageferry-tmpfs-XXXXXX", file[64];
	int fd = -1;

	assert_non_null(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/memory", path);
	/* In a mount namespace of this process alone, and gone with its last file. */
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("tmpfs", path, "tmpfs", 0, options) == 0) {
		fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		umount2(path, MNT_DETACH);
	}
	rmdir(path);
	if (fd < 0) {
		fprintf(stderr, "skip mounting a tmpfs with %s: refused here\n", options);
		skip();
	}
	return fd;
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE (UINT64_C(2) << 20)

/* errno, 0.  EAGAIN and EBUSY are for the moment: somebody else holds a page, or has not let go of it yet. */
static int collapse_here(int fd, uint64_t offset)
{
	uint64_t deadline = wait_deadline();
	uint8_t *room = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	if (room == MAP_FAILED)
		return errno;
	at = (uint8_t *)(((uintptr_t)room + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	if (mmap(at, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
		return errno;
	while (madvise(at, HUGE, MADV_COLLAPSE) != 0) {
		if ((errno != EAGAIN && errno != EBUSY) || pf_now_ns() > deadline)
			return errno;
		(void)poll(NULL, 0, 1);
	}
	return 0;
}

bool collapse(int fd, uint64_t offset)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(collapse_here(fd, offset));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	errno = WEXITSTATUS(status);
	return errno == 0;
}

void break_up(int fd, uint64_t page)
{
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), PAGE),
			 0);
	assert_int_equal(fallocate(fd, 0, (off_t)(page * PAGE), PAGE), 0);
}

void need_collapse(void)
{
	int fd = tmpfs_file("huge=always");
	bool collapses;

	assert_int_equal(ftruncate(fd, HUGE), 0);
	break_up(fd, 0);
	collapses = collapse(fd, 0);
	close(fd);
	if (collapses)
		return;
	fprintf(stderr, "skip MADV_COLLAPSE of tmpfs: %s\n", strerror(errno));
	skip();
}

uint64_t wait_deadline(void)
{
	return pf_now_ns() + DEADLINE_MS * PF_NS_PER_MS;
}

void wait_a_moment(uint64_t deadline)
{
	assert_true(pf_now_ns() < deadline);
	(void)poll(NULL, 0, 1);
}

bool vmm_is_silent(const struct vmm *vmm)
{
	struct pollfd poller = {.fd = vmm->sock, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

uint64_t vmm_word(const struct vmm *vmm, uint64_t page)
{
	struct vmm_reply reply;

	vmm_tell(vmm, VMM_READ, 0, page, 0);
	reply = vmm_reply(vmm);
	assert_int_equal(reply.page, page);
	assert_true(reply.uniform);
	return reply.value;
}

static int duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	assert_true(copy >= 0);
	return copy;
}

void guest_fill(struct pf_guest *guest, const struct vmm *vmm, uint64_t pages)
{
	struct pf_guest_region *region = &guest->region[0];

	memset(guest, 0, sizeof(*guest));
	guest->table.count = 1;
	guest->table.region[0] =
		(struct pf_region_shape){.gpa = 0, .size = pages * PAGE, .page_size = PAGE};
	region->id = 7;
	region->kind = vmm->memfd == VMM_PRIVATE ? PF_MEMORY_PRIVATE : PF_MEMORY_MEMFD;
	region->fd = vmm->memfd == VMM_PRIVATE ? -1 : duplicate(vmm->memfd);
	region->mappings = vmm->mappings;
	guest->uffds = vmm->mappings;
	for (uint32_t m = 0; m < vmm->mappings; m++) {
		guest->uffd[m].fd = duplicate(vmm->uffd[m]);
		region->mapping[m].uffd = m;
		region->mapping[m].base = vmm->base[m];
	}
}

uint64_t guest_fault(struct pf_guest *guest, uint32_t uffd, bool *out_minor)
{
	struct pf_ring *ring = &guest->uffd[uffd].ring;
	const struct uffd_msg *event = pf_ring_peek(ring);
	uint32_t region;
	uint64_t page;

	if (!event) {
		wait_readable(guest->uffd[uffd].fd);
		assert_int_equal(pf_ring_read(ring, guest->uffd[uffd].fd), PF_RING_EVENTS);
		event = pf_ring_peek(ring);
		assert_non_null(event);
	}
	assert_int_equal(event->event, UFFD_EVENT_PAGEFAULT);
	assert_true(pf_guest_find(guest, uffd, event->arg.pagefault.address, &region, &page));
	assert_int_equal(region, 0);
	*out_minor = event->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR;
	pf_ring_pop(ring);
	return page;
}

void kvm_set_parameter(const char *name, const char *value)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/module/kvm/parameters/%s", name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(value, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static _Thread_local sigjmp_buf before_read;
static _Thread_local volatile sig_atomic_t reading;

static void on_sigbus(int number)
{
	if (reading)
		siglongjmp(before_read, 1);
	(void)signal(number, SIG_DFL); /* and it comes again */
}

uint64_t read_or_sigbus(const void *at)
{
	struct sigaction action = {.sa_handler = on_sigbus};
	volatile uint64_t word = GOT_SIGBUS;

	sigaction(SIGBUS, &action, NULL);
	reading = 1;
	if (sigsetjmp(before_read, 1) == 0)
		word = *(volatile const uint64_t *)at;
	reading = 0;
	return word;
}

uint64_t vmm_touch(const struct vmm_memory *memory, uint64_t page)
{
	return read_or_sigbus(memory->base + page * PAGE);
}
