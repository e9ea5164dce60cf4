/*
 * team.h
 *		Worker threads that share the work of the calling thread.
 *
 * Example:
 *
 *		EmbCrew	crew;
 *		emb_crew_join(&crew, n_threads);			// crew.n_workers >= 1, mostly n_threads
 *		emb_crew_run(&crew, n_pieces, piece, ctx);	// piece(ctx, i, worker) for every i
 *		emb_crew_leave(&crew);
 *
 * The threads belong to the process. They start when first needed, with all
 * signals blocked, and sleep in the kernel between calls. A counter hands out
 * the pieces one by one. The caller waits only for pieces that have started,
 * not for a worker that the system has not scheduled. If no thread can be
 * created, or another call uses the crew, the caller works alone.
 */
#ifndef EMB_THREADS_TEAM_H
#define EMB_THREADS_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#define EMB_CREW_MAX 64

typedef struct EmbCrew
{
	int32_t		n_workers;		/* the caller is worker 0 */
	void		(*while_waiting) (void *ctx);	/* or NULL; called every few ms while only worker threads are busy */
	void	   *waiting_ctx;
} EmbCrew;

typedef void (*EmbPiece) (void *ctx, int32_t piece, int32_t worker);

extern void emb_crew_join(EmbCrew *crew, int32_t n_threads);
extern void emb_crew_run(const EmbCrew *crew, int32_t n_pieces, EmbPiece piece, void *ctx);
extern void emb_crew_leave(EmbCrew *crew);

/* Ends and joins the threads; a later join starts new threads. Not while a crew is in use. */
extern void emb_crew_stop(void);

#endif
