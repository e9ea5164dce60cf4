/*
 * cli_machine.h
 *		What a report says of the machine.
 *
 * Example:
 *
 *		CliMachine	machine;
 *		cli_machine_read(&machine);		// first thing: the load is that before the command's own work
 *
 * What the system does not tell is "" or below 0. No name of the host, of a
 * user or of a folder is read.
 */
#ifndef EMBED_CLI_MACHINE_H
#define EMBED_CLI_MACHINE_H

#include <stdbool.h>

typedef struct CliMachine
{
	char		cpu[160];		/* "model name" of /proc/cpuinfo */
	char		numbers[80];	/* vendor, family, model, stepping */
	char		caches[160];	/* of the first CPU: "L1d 32K, L2 1024K, L3 32768K" */
	char		system[200];
	char		date[32];
	double		memory_gb;
	double		load;			/* of the last minute */
	int			n_cpus;			/* that this process may use */
} CliMachine;

extern void cli_machine_read(CliMachine *machine);

#endif
