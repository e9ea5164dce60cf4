/*
 * team.h
 *		Worker threads that share the work of the calling thread.
 *
 * Example:
 *
 *		EmbTeam team;
 *		emb_team_join(&team, n_threads);			// team.n_workers >= 1, mostly n_threads
 *		emb_team_run(&team, n_parts, part, ctx);	// part(ctx, i, worker) for every i
 *		emb_team_leave(&team);
 *
 * The threads belong to the process. They start when first needed, with all
 * signals blocked, and sleep in the kernel between calls. A counter hands out
 * the parts one by one. The caller waits only for parts that have started,
 * not for a worker that the system has not scheduled. If no thread can be
 * created, or another call uses the team, the caller works alone.
 */
#ifndef EMB_THREADS_TEAM_H
#define EMB_THREADS_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#define EMB_TEAM_MAX 64

typedef struct EmbTeam
{
	int32_t		n_workers;		/* the caller is worker 0 */
	void		(*while_waiting) (void *ctx);	/* or NULL; called every few ms while only worker threads are busy */
	void	   *waiting_ctx;
} EmbTeam;

typedef void (*EmbTeamPart) (void *ctx, int32_t part, int32_t worker);

extern void emb_team_join(EmbTeam *team, int32_t n_threads);
extern void emb_team_run(const EmbTeam *team, int32_t n_parts, EmbTeamPart part, void *ctx);
extern void emb_team_leave(EmbTeam *team);

/* Ends and joins the threads; a later join starts new threads. Not while a team is in use. */
extern void emb_team_stop(void);

#endif
