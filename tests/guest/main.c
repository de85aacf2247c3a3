/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/main.c - pageferry-guest: a small VMM whose guest proves what became of its memory.
 *
 * Options, and the one loop over stdin, the agent's socket and the machine's eventfd.
 *
 * Exit codes: 0 identical, or quit; 1 DIFFERENT, or the guest died; 64 usage; 69 no agent;
 * 71 operating system.
 */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "tests/guest/report.h"
#include "tests/guest/vmm.h"
#include "vmm/pageferry-vmm.h"

#define LOOK_AGAIN_MS 20
#define MEMORY_MIN (UINT64_C(16) << 20)
#define MEMORY_MAX (UINT64_C(3) << 30)

static const char usage[] =
	"usage: pageferry-guest --role source|destination|solo --memory SIZE --vcpus N\n"
	"           [--vmm-socket PATH] [--seed N] [--backend kvm|threads]\n"
	"           [--regions N | --kinds KIND,...] [--tmpfs DIR] [--mirror]\n"
	"           [--prepared allocated|listed] [--fill-atomic] [--machine-checks] [--reattach]\n"
	"  memory 16M to 3G, vcpus 1 to 4, regions 1 to 4 (default 2: two slots of one memfd)\n"
	"  KIND memfd, tmpfs (a file in DIR, default /dev/shm), private, hugetlb (pages of 2M),\n"
	"  guest_memfd or guest_memfd-unwritable (without write(2)), one for each region\n"
	"  --mirror: a second mapping of what is not private\n"
	"  --prepared: a destination's files are not empty, and the agent is told so\n"
	"  --fill-atomic, --machine-checks: what is declared of guest_memfd\n"
	"  --reattach: when its agent is gone, another one is looked for\n"
	"  stdin: status, finish, quit; source PATH: a guest that has arrived leaves again, by the agent there\n";

static int parse_role(const char *text, struct pf_guest_options *options, struct pf_err *err)
{
	static const char *const names[] = {"solo", "source", "destination"};

	for (size_t i = 0; i < PF_ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			options->role = (enum pf_guest_role)i;
			return 0;
		}
	}
	return pf_err_set(err, PF_ERR_USAGE, "--role %s: not source, destination or solo", text);
}

static int parse_backend(const char *text, struct pf_guest_options *options, struct pf_err *err)
{
	if (strcmp(text, "kvm") == 0)
		options->backend = &pf_backend_kvm;
	else if (strcmp(text, "threads") == 0)
		options->backend = &pf_backend_threads;
	else
		return pf_err_set(err, PF_ERR_USAGE, "--backend %s: not kvm or threads", text);
	return 0;
}

static int parse_number(const char *name, const char *text, uint64_t low, uint64_t high,
			uint32_t *out, struct pf_err *err)
{
	uint64_t value;

	if (pf_number_parse(text, low, high, &value, err))
		return pf_err_prefix(err, "--%s", name);
	*out = (uint32_t)value;
	return 0;
}

static int parse_regions(const char *text, struct pf_memory_plan *plan, struct pf_err *err)
{
	if (parse_number("regions", text, 1, PF_MEMORY_REGIONS_MAX, &plan->region_count, err))
		return -1;
	memset(plan->region, 0, sizeof(plan->region)); /* PF_BACKING_MEMFD */
	return 0;
}

/* The kind whose name the text begins with, up to a comma or the end. */
static int parse_kind(const char **text, enum pf_backing *out, struct pf_err *err)
{
	size_t length = strcspn(*text, ",");

	for (*out = 0; pf_backing_name(*out); (*out)++) {
		if (strncmp(*text, pf_backing_name(*out), length) == 0 &&
		    pf_backing_name(*out)[length] == '\0') {
			*text += length;
			return 0;
		}
	}
	return pf_err_set(err, PF_ERR_USAGE, "--kinds: '%.*s' is none", (int)length, *text);
}

static int parse_kinds(const char *text, struct pf_memory_plan *plan, struct pf_err *err)
{
	plan->region_count = 0;
	do {
		if (plan->region_count == PF_MEMORY_REGIONS_MAX)
			return pf_err_set(err, PF_ERR_USAGE, "--kinds: more than %d regions",
					  PF_MEMORY_REGIONS_MAX);
		if (parse_kind(&text, &plan->region[plan->region_count++], err))
			return -1;
	} while (*text++ == ',');
	return 0;
}

static int parse_prepared(const char *text, struct pf_memory_plan *plan, struct pf_err *err)
{
	if (strcmp(text, "allocated") == 0)
		plan->prepared = PF_PREPARED_ALLOCATED;
	else if (strcmp(text, "listed") == 0)
		plan->prepared = PF_PREPARED_LISTED;
	else
		return pf_err_set(err, PF_ERR_USAGE, "--prepared %s: not allocated or listed", text);
	return 0;
}

static int parse_memory(const char *text, struct pf_guest_options *options, struct pf_err *err)
{
	uint64_t *memory = &options->plan.memory;

	if (pf_size_parse(text, memory, err))
		return pf_err_prefix(err, "--memory");
	if (*memory < MEMORY_MIN || *memory > MEMORY_MAX || *memory % PF_GUEST_PAGE != 0)
		return pf_err_set(err, PF_ERR_USAGE,
				  "--memory %s: not 16M to 3G in pages of 4096 bytes", text);
	return 0;
}

static int parse_option(int option, struct pf_guest_options *options, struct pf_err *err)
{
	switch (option) {
	case 'r':
		return parse_role(optarg, options, err);
	case 'm':
		return parse_memory(optarg, options, err);
	case 'v':
		return parse_number("vcpus", optarg, 1, PF_GUEST_VCPUS_MAX, &options->plan.vcpus,
				    err);
	case 's':
		options->vmm_socket = optarg;
		return 0;
	case 'e':
		return parse_number("seed", optarg, 0, UINT32_MAX, &options->plan.seed, err);
	case 'b':
		return parse_backend(optarg, options, err);
	case 'g':
		return parse_regions(optarg, &options->memory, err);
	case 'k':
		return parse_kinds(optarg, &options->memory, err);
	case 't':
		options->memory.tmpfs = optarg;
		return 0;
	case 'p':
		return parse_prepared(optarg, &options->memory, err);
	case 'a':
		options->fill_atomic = true;
		return 0;
	case 'c':
		options->machine_checks = true;
		return 0;
	case 'o':
		options->reattach = true;
		return 0;
	case 'i':
		options->memory.mirror = true;
		return 0;
	default:
		return pf_err_set(err, PF_ERR_USAGE, "see the usage");
	}
}

/* Said loudly, here and in the report: the walk without KVM proves less. */
static const struct pf_backend_ops *choose_backend(void)
{
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		return &pf_backend_kvm;
	fprintf(stderr, "pageferry-guest: no /dev/kvm (%s): the walk runs in threads\n",
		strerror(errno));
	return &pf_backend_threads;
}

static int parse_options(int argc, char **argv, struct pf_guest_options *options,
			 struct pf_err *err)
{
	static const struct option names[] = {
		{"role", required_argument, NULL, 'r'},
		{"memory", required_argument, NULL, 'm'},
		{"vcpus", required_argument, NULL, 'v'},
		{"vmm-socket", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		{"backend", required_argument, NULL, 'b'},
		{"regions", required_argument, NULL, 'g'},
		{"kinds", required_argument, NULL, 'k'},
		{"tmpfs", required_argument, NULL, 't'},
		{"mirror", no_argument, NULL, 'i'},
		{"fill-atomic", no_argument, NULL, 'a'},
		{"machine-checks", no_argument, NULL, 'c'},
		{"reattach", no_argument, NULL, 'o'},
		{"prepared", required_argument, NULL, 'p'},
		{0},
	};
	bool role_given = false;
	int option;

	*options = (struct pf_guest_options){
		.memory = {.region_count = 2, .tmpfs = "/dev/shm"},
		.plan = {.seed = 1},
	};
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		role_given = role_given || option == 'r';
		if (parse_option(option, options, err))
			return -1;
	}
	if (optind != argc || !role_given || !options->plan.memory || !options->plan.vcpus)
		return pf_err_set(err, PF_ERR_USAGE, "--role, --memory and --vcpus are needed");
	if ((options->role == PF_GUEST_SOLO) != (options->vmm_socket == NULL))
		return pf_err_set(err, PF_ERR_USAGE,
				  "--vmm-socket is for source and destination, and they need it");
	if (!options->backend)
		options->backend = choose_backend();
	return 0;
}

static void obey(struct pf_vmm *vmm, const char *line)
{
	struct pf_err err;

	if (strcmp(line, "status") == 0) {
		pf_report_visits(&vmm->machine);
	} else if (strcmp(line, "finish") == 0) {
		pf_vmm_finish(vmm);
	} else if (strncmp(line, "source ", 7) == 0) {
		pf_vmm_leave_by(vmm, line + 7);
	} else if (strcmp(line, "quit") == 0) {
		vmm->leave = true;
	} else {
		pf_err_set(&err, PF_ERR_USAGE, "%.64s: not status, finish, source or quit", line);
		pf_report_error(&err);
	}
}

struct input {
	char text[256];
	size_t used;
};

/* EOF, and a line longer than any command, mean quit. */
static void on_input(struct pf_vmm *vmm, struct input *input)
{
	ssize_t got =
		read(STDIN_FILENO, input->text + input->used, sizeof(input->text) - input->used);
	char *end;

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		vmm->leave = true;
		return;
	}
	input->used += (size_t)got;
	while (!vmm->leave && (end = memchr(input->text, '\n', input->used))) {
		size_t length = (size_t)(end - input->text);

		*end = '\0';
		obey(vmm, input->text);
		input->used -= length + 1;
		memmove(input->text, end + 1, input->used);
	}
}

static int loop(struct pf_vmm *vmm, struct pf_err *err)
{
	struct input input = {.used = 0};

	while (!vmm->leave) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = vmm->machine.event, .events = POLLIN},
			{.fd = vmm->agent && !vmm->away ? pageferry_vmm_fd(vmm->agent) : -1,
			 .events = POLLIN},
			{.fd = pf_vmm_fault_fd(vmm), .events = POLLIN},
		};

		if (poll(fds, PF_ARRAY_LEN(fds), vmm->away ? LOOK_AGAIN_MS : -1) < 0 &&
		    errno != EINTR)
			return pf_err_sys(err, "waiting for events");
		if (vmm->away)
			pf_vmm_look_for_agent(vmm);
		if (fds[1].revents)
			pf_vmm_on_event(vmm);
		/* Before the other, which may close the connection. */
		if (fds[3].revents && !vmm->leave)
			pf_vmm_on_faults(vmm);
		if (fds[2].revents && !vmm->leave)
			pf_vmm_on_agent(vmm);
		if (fds[0].revents && !vmm->leave)
			on_input(vmm, &input);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct pf_vmm vmm;
	struct pf_guest_options options;
	struct pf_err err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (parse_options(argc, argv, &options, &err)) {
		fprintf(stderr, "pageferry-guest: %s\n%s", err.text, usage);
		return pf_err_exit_code(&err);
	}
	if (pf_vmm_create(&vmm, &options, &err) || pf_vmm_begin(&vmm, &err) || loop(&vmm, &err)) {
		pf_report_error(&err);
		vmm.exit_code = pf_err_exit_code(&err);
	}
	pf_vmm_destroy(&vmm);
	return vmm.exit_code;
}
