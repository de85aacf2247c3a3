/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/vm_process.c - see tests/guest/vm_process.h. */
#include "tests/guest/vm_process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define WAIT_MS 60000

/* pageferry-guest is built beside its test. */
static void find_program(char *out, size_t size)
{
	char self[512];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	assert_true(length > 0);
	self[length] = '\0';
	slash = strrchr(self, '/');
	assert_non_null(slash);
	*slash = '\0';
	assert_in_range(snprintf(out, size, "%s/pageferry-guest", self), 1, size - 1);
}

static void run_program(const char *program, const struct pf_vm_options *o, int in, int out)
{
	const char *argv[16] = {program,    "--role", o->role,	"--memory",  o->memory, "--vcpus",
				o->vcpus, "--seed", o->seed, "--backend", o->backend};
	size_t used = 11;

	if (o->socket) {
		argv[used++] = "--vmm-socket";
		argv[used++] = o->socket;
	}
	if (o->kinds) {
		argv[used++] = "--kinds";
		argv[used++] = o->kinds;
	}

	/* A test that fails leaves no guest behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
		execv(program, (char *const *)argv);
	_exit(127);
}

void pf_vm_start(struct pf_vm *vm, const struct pf_vm_options *options)
{
	char program[600];
	int in[2], out[2];

	find_program(program, sizeof(program));
	memset(vm, 0, sizeof(*vm));
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	vm->pid = fork();
	assert_true(vm->pid >= 0);
	if (vm->pid == 0)
		run_program(program, options, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	vm->in = in[1];
	vm->out = out[0];
}

void pf_vm_say(struct pf_vm *vm, const char *word)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "%s\n", word);

	assert_in_range(length, 2, sizeof(line) - 1);
	if (write(vm->in, line, (size_t)length) != length)
		assert_int_equal(errno, EPIPE);
}

static void read_more(struct pf_vm *vm)
{
	struct pollfd pollfd = {.fd = vm->out, .events = POLLIN};
	ssize_t got;

	assert_true(vm->used < sizeof(vm->text));
	if (poll(&pollfd, 1, WAIT_MS) != 1)
		fail_msg("pageferry-guest said nothing for %d ms", WAIT_MS);
	got = read(vm->out, vm->text + vm->used, sizeof(vm->text) - vm->used);
	if (got <= 0)
		fail_msg("pageferry-guest closed its stdout");
	vm->used += (size_t)got;
}

static void read_line(struct pf_vm *vm, char *out, size_t size)
{
	char *end;
	size_t length;

	while (!(end = memchr(vm->text, '\n', vm->used)))
		read_more(vm);
	length = (size_t)(end - vm->text);
	assert_true(length < size);
	memcpy(out, vm->text, length);
	out[length] = '\0';
	vm->used -= length + 1;
	memmove(vm->text, end + 1, vm->used);
}

void pf_vm_expect(struct pf_vm *vm, const char *line)
{
	char found[1024];

	read_line(vm, found, sizeof(found));
	assert_string_equal(found, line);
}

void pf_vm_expect_prefix(struct pf_vm *vm, const char *prefix, char *out, size_t size)
{
	char found[1024];

	read_line(vm, found, sizeof(found));
	if (strncmp(found, prefix, strlen(prefix)) != 0)
		fail_msg("expected a line `%s...`, got `%s`", prefix, found);
	snprintf(out, size, "%s", found + strlen(prefix));
}

void pf_vm_skip_to(struct pf_vm *vm, const char *prefix, char *out, size_t size)
{
	char found[1024];

	do {
		read_line(vm, found, sizeof(found));
	} while (strncmp(found, prefix, strlen(prefix)) != 0);
	snprintf(out, size, "%s", found + strlen(prefix));
}

int pf_vm_wait(struct pf_vm *vm)
{
	int status;

	close(vm->in);
	assert_int_equal(waitpid(vm->pid, &status, 0), vm->pid);
	close(vm->out);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

int pf_vm_open_memory(const struct pf_vm *vm)
{
	static const char wanted[] = "/memfd:guest-memory";

	for (int number = 0; number < 64; number++) {
		char path[64], target[256];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)vm->pid, number);
		length = readlink(path, target, sizeof(target));
		if (length >= (ssize_t)strlen(wanted) &&
		    strncmp(target, wanted, strlen(wanted)) == 0) {
			int fd = open(path, O_RDWR | O_CLOEXEC);

			assert_true(fd >= 0);
			return fd;
		}
	}
	fail_msg("process %d has no guest memory", (int)vm->pid);
	return -1;
}

bool pf_vm_find_gmem(const struct pf_vm *vm, uint64_t address, int *out_fd, uint64_t *out_at)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)vm->pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		uint64_t from, to, offset;

		if (!strstr(line, "gmem") && !strstr(line, "guest_memfd"))
			continue;
		assert_int_equal(sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &from, &to,
					&offset), 3);
		found = address >= offset && address - offset < to - from;
		*out_at = from + address - offset;
	}
	fclose(maps);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)vm->pid);
	*out_fd = found ? open(path, O_RDWR | O_CLOEXEC) : -1;
	return *out_fd >= 0;
}

unsigned char pf_vm_damage(int memory_fd, uint64_t address, unsigned char bits)
{
	unsigned char before, after;

	assert_int_equal(pread(memory_fd, &before, 1, (off_t)address), 1);
	after = before ^ bits;
	assert_int_equal(pwrite(memory_fd, &after, 1, (off_t)address), 1);
	return before;
}
