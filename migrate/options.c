/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/options.c - see migrate/options.h. */
#include "migrate/options.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/size.h"
#include "wire/msg.h"

#define SOURCE (1u << PF_SOURCE)
#define DESTINATION (1u << PF_DESTINATION)
#define BOTH (SOURCE | DESTINATION)
#define SOCKET_PATH_MAX 107u /* sun_path without its NUL, unix(7) */

struct row {
	const char *name;
	const char *argument; /* NULL: a flag */
	unsigned sides;
	unsigned required; /* sides that cannot do without it */
	bool repeats;
	const char *fallback; /* default value; NULL: none */
	const char *help;
	int (*parse)(const struct row *row, const char *value, struct pf_options *out,
		     struct pf_err *err);
	size_t offset; /* of the member that keep_text() sets */
};

static int keep_text(const struct row *row, const char *value, struct pf_options *out,
		     struct pf_err *err)
{
	if (value[0] == '\0')
		return pf_err_set(err, PF_ERR_USAGE, "it is empty; %s is needed", row->argument);
	*(const char **)((char *)out + row->offset) = value;
	return 0;
}

static int keep_socket(const struct row *row, const char *value, struct pf_options *out,
		       struct pf_err *err)
{
	if (strlen(value) > SOCKET_PATH_MAX)
		return pf_err_set(err, PF_ERR_USAGE,
				  "a socket path has at most %u bytes; '%s' "
				  "has %zu",
				  SOCKET_PATH_MAX, value, strlen(value));
	return keep_text(row, value, out, err);
}

static int keep_id(const struct row *row, const char *value, struct pf_options *out,
		   struct pf_err *err)
{
	return pf_id_check(value, err) ? -1 : keep_text(row, value, out, err);
}

static int keep_events(const struct row *row, const char *value, struct pf_options *out,
		       struct pf_err *err)
{
	uint64_t number;

	if (strncmp(value, "fd:", 3) == 0 && pf_number_parse(value + 3, 0, INT_MAX, &number, err))
		return -1;
	return keep_text(row, value, out, err);
}

static int keep_dialect(const struct row *row, const char *value, struct pf_options *out,
			struct pf_err *err)
{
	static const char *const later[] = {"firecracker", "cloud-hypervisor", "qemu"};

	if (strcmp(value, "native") == 0)
		return keep_text(row, value, out, err);
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (strcmp(value, later[i]) != 0)
			continue;
		pf_err_set(err, PF_ERR_USAGE, "this build has no %s dialect", value);
		return pf_err_hint(err, "it has: native (proto/vmm.proto)");
	}
	return pf_err_set(err, PF_ERR_USAGE, "'%s' is no dialect; this build has: native", value);
}

static int keep_listen(const struct row *row, const char *value, struct pf_options *out,
		       struct pf_err *err)
{
	(void)row;
	return pf_endpoint_parse(value, &out->listen, err);
}

static int keep_connect(const struct row *row, const char *value, struct pf_options *out,
			struct pf_err *err)
{
	struct pf_endpoint *endpoint = &out->connect[out->connects];

	(void)row;
	if (out->connects == PF_CONNECTS_MAX)
		return pf_err_set(err, PF_ERR_USAGE, "it may be given %u times", PF_CONNECTS_MAX);
	if (pf_endpoint_parse_peer(value, endpoint, err))
		return -1;
	out->connects++;
	return 0;
}

static int keep_channels(const struct row *row, const char *value, struct pf_options *out,
			 struct pf_err *err)
{
	uint64_t number;

	(void)row;
	if (pf_number_parse(value, 1, PF_CHANNELS_MAX, &number, err))
		return -1;
	out->channels = (uint32_t)number;
	return 0;
}

static int keep_deadline(const struct row *row, const char *value, struct pf_options *out,
			 struct pf_err *err)
{
	(void)row;
	return pf_number_parse(value, 0, PF_OUTAGE_DEADLINE_MS_MAX, &out->outage_deadline_ms, err);
}

static int keep_link_timeout(const struct row *row, const char *value, struct pf_options *out,
			     struct pf_err *err)
{
	(void)row;
	return pf_number_parse(value, PF_LINK_TIMEOUT_MS_MIN, PF_LINK_TIMEOUT_MS_MAX,
			       &out->link_timeout_ms, err);
}

static int keep_bandwidth(const struct row *row, const char *value, struct pf_options *out,
			  struct pf_err *err)
{
	(void)row;
	return pf_size_parse(value, &out->max_bandwidth, err);
}

static int keep_device_state(const struct row *row, const char *value, struct pf_options *out,
			     struct pf_err *err)
{
	(void)row;
	if (pf_size_parse(value, &out->max_device_state, err))
		return -1;
	if (out->max_device_state == 0)
		return pf_err_set(err, PF_ERR_USAGE, "'%s': at least one byte", value);
	return 0;
}

static int keep_timeout(const struct row *row, const char *value, struct pf_options *out,
			struct pf_err *err)
{
	(void)row;
	return pf_number_parse(value, 1, 86400, &out->connect_timeout_s, err);
}

#define TEXT(member) .offset = offsetof(struct pf_options, member)

/* clang-format off: a table */
static const struct row table[] = {
	{"--listen", "ADDR:PORT", DESTINATION, DESTINATION, false, NULL,
	 "where the source connects to; port 0 takes a free one (event LISTENING)", keep_listen, 0},
	{"--connect", "ADDR:PORT", SOURCE, SOURCE, true, NULL,
	 "the destination; up to 8 addresses of it, tried in turn", keep_connect, 0},
	{"--vmm-socket", "PATH", BOTH, BOTH, false, NULL, "socket for the VMM, made by this agent",
	 keep_socket, TEXT(vmm_socket)},
	{"--control", "PATH", BOTH, BOTH, false, NULL,
	 "socket for the orchestrator, made by this agent", keep_socket, TEXT(control)},
	{"--tls-dir", "DIR", BOTH, BOTH, false, NULL,
	 "ca-cert.pem, {server,client}-{cert,key}.pem, optional ca-crl.pem", keep_text,
	 TEXT(tls_dir)},
	{"--state-dir", "DIR", BOTH, BOTH, false, NULL,
	 "what must survive a process; made 0700, best on tmpfs", keep_text, TEXT(state_dir)},
	{"--id", "ID", BOTH, BOTH, false, NULL, "name of the migration, the same on both sides",
	 keep_id, TEXT(id)},
	{"--peer-name", "NAME", BOTH, DESTINATION, false, NULL,
	 "name (DNS, IP or spiffe:// URI) that the peer's certificate must carry;"
	 " a source takes the host of --connect if none is given",
	 keep_text, TEXT(peer_name)},
	{"--vmm", "DIALECT", BOTH, 0, false, "native",
	 "what the VMM speaks; this build has: native", keep_dialect, TEXT(vmm)},
	{"--channels", "N", BOTH, 0, false, "1",
	 "bulk connections beside the urgent one, 1 to 8; the source decides", keep_channels, 0},
	{"--events", "FILE|fd:N", BOTH, 0, false, NULL, "append each event as a line of JSON",
	 keep_events, TEXT(events)},
	{"--outage-deadline", "MS", BOTH, 0, false, "0",
	 "tell (event OUTAGE_DEADLINE) when an outage lasts longer; 0: never", keep_deadline, 0},
	{"--link-timeout", "MS", BOTH, 0, false, "750",
	 "silence after which a connection is suspected; twice that, and it is lost",
	 keep_link_timeout, 0},
	{"--max-bandwidth", "BYTES", BOTH, 0, false, "0",
	 "limit of the background push of a source, a second; 0: none", keep_bandwidth, 0},
	{"--max-device-state", "BYTES", BOTH, 0, false, "64M",
	 "refuse a device state larger than this", keep_device_state, 0},
	{"--connect-timeout", "S", BOTH, 0, false, "30",
	 "a source gives up before the switch-over after so long without a destination",
	 keep_timeout, 0},
	{"--help", NULL, BOTH, 0, true, NULL, "show this and exit", NULL, 0},
};
/* clang-format on */

#define ROWS (sizeof(table) / sizeof(table[0]))

static const char *side_name(enum pf_side side)
{
	return side == PF_SOURCE ? "source" : "destination";
}

/* The row whose name is the first `length` bytes of `arg`. */
static const struct row *find_row(const char *arg, size_t length)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strlen(table[i].name) == length && strncmp(arg, table[i].name, length) == 0)
			return &table[i];
	return NULL;
}

static int usage_hint(struct pf_err *err, enum pf_side side)
{
	return pf_err_hint(err, "see: pageferry %s --help", side_name(side));
}

static int unknown(const char *arg, size_t length, enum pf_side side, struct pf_err *err)
{
	if (arg[0] == '-')
		pf_err_set(err, PF_ERR_USAGE, "unknown option %.*s", (int)length, arg);
	else
		pf_err_set(err, PF_ERR_USAGE, "'%s' belongs to no option", arg);
	return usage_hint(err, side);
}

/* One option with its value; *i is moved to its last word. */
static int take_option(int argc, char **argv, int *i, struct pf_options *out, unsigned *seen,
		       struct pf_err *err)
{
	const char *arg = argv[*i], *value = strchr(arg, '=');
	size_t length = value ? (size_t)(value - arg) : strlen(arg);
	const struct row *row = find_row(arg, length);
	unsigned bit;

	if (!row || !row->argument)
		return unknown(arg, length, out->side, err);
	bit = 1u << (row - table);
	if (!(row->sides & (1u << out->side))) {
		pf_err_set(err, PF_ERR_USAGE, "%s is an option of the %s", row->name,
			   row->sides & SOURCE ? "source" : "destination");
		return usage_hint(err, out->side);
	}
	if ((*seen & bit) && !row->repeats)
		return pf_err_set(err, PF_ERR_USAGE, "%s is given twice", row->name);
	*seen |= bit;
	if (value)
		value++;
	else if (*i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0)
		value = argv[++*i];
	else
		return pf_err_set(err, PF_ERR_USAGE, "%s needs a value: %s", row->name,
				  row->argument);
	return row->parse(row, value, out, err) ? pf_err_prefix(err, "%s", row->name) : 0;
}

static int check_required(const struct pf_options *options, unsigned seen, struct pf_err *err)
{
	char missing[sizeof(err->text) / 2] = "";
	size_t used = 0;

	for (size_t i = 0; i < ROWS; i++) {
		if (!(table[i].required & (1u << options->side)) || (seen & (1u << i)))
			continue;
		used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s %s",
					 used ? ", " : "", table[i].name, table[i].argument);
	}
	if (used == 0)
		return 0;
	pf_err_set(err, PF_ERR_USAGE, "missing: %s", missing);
	return usage_hint(err, options->side);
}

/* Two names of one path would show when the second socket is made: src/base/unixsock.c. */
static int check_paths(const struct pf_options *options, struct pf_err *err)
{
	if (strcmp(options->vmm_socket, options->control) != 0)
		return 0;
	pf_err_set(err, PF_ERR_USAGE, "--vmm-socket and --control are both '%s'", options->control);
	return pf_err_hint(err, "give each socket a path of its own");
}

static int apply_fallbacks(struct pf_options *out, struct pf_err *err)
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].fallback && table[i].parse(&table[i], table[i].fallback, out, err))
			return pf_err_prefix(err, "default of %s", table[i].name);
	return 0;
}

int pf_options_parse(int argc, char **argv, enum pf_side side, struct pf_options *out,
		     struct pf_err *err)
{
	unsigned seen = 0;

	_Static_assert(ROWS <= 8 * sizeof(seen), "one bit for each option");
	*out = (struct pf_options){.side = side};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			out->help = true;
			return 0;
		}
	}
	if (apply_fallbacks(out, err))
		return -1;
	for (int i = 1; i < argc; i++)
		if (take_option(argc, argv, &i, out, &seen, err))
			return -1;
	return check_required(out, seen, err) || check_paths(out, err) ? -1 : 0;
}

static void print_usage(enum pf_side side, FILE *out)
{
	fprintf(out, "usage: pageferry %s", side_name(side));
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].required & (1u << side))
			fprintf(out, " %s %s%s", table[i].name, table[i].argument,
				table[i].repeats ? "..." : "");
	fputs(" [OPTIONS]\n\n", out);
}

void pf_options_help(enum pf_side side, FILE *out)
{
	print_usage(side, out);
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = &table[i];
		const char *mark = "";

		if (!(row->sides & (1u << side)))
			continue;
		if (row->required & (1u << side))
			mark = " (required)";
		fprintf(out, "  %s%s%s\n      %s%s", row->name, row->argument ? " " : "",
			row->argument ? row->argument : "", row->help, mark);
		if (row->fallback)
			fprintf(out, " (default %s)", row->fallback);
		fputc('\n', out);
	}
	fputs("\nBYTES take K, M or G (powers of 1024).  ADDR may be a name, an IPv4 address or an"
	      "\nIPv6 address in brackets.  proto/CONTROL.md describes the control socket.\n",
	      out);
}
