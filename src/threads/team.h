/*
 * team.h
 *		A few threads that help the calling one with pieces of its work.
 *
 * Example:
 *
 *		EmbCrew	crew;
 *		emb_crew_join(&crew, n_threads);			// crew.n_workers >= 1, mostly n_threads
 *		emb_crew_run(&crew, n_pieces, piece, ctx);	// piece(ctx, i, worker) for every i
 *		emb_crew_leave(&crew);
 *
 * The threads belong to the process, start at first need with all signals
 * blocked, and sleep in the kernel between calls. Pieces are handed out one by
 * one from a counter. A helper that is not scheduled in time is not waited
 * for: only pieces that were begun are. Where no thread can be created, or
 * another call has the crew, the caller works alone.
 */
#ifndef EMB_THREADS_TEAM_H
#define EMB_THREADS_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#define EMB_CREW_MAX 64

typedef struct EmbCrew
{
	int32_t		n_workers;		/* the caller is worker 0 */
	void		(*while_waiting) (void *ctx);	/* or NULL; called every few ms while only helpers work */
	void	   *waiting_ctx;
} EmbCrew;

typedef void (*EmbPiece) (void *ctx, int32_t piece, int32_t worker);

extern void emb_crew_join(EmbCrew *crew, int32_t n_threads);
extern void emb_crew_run(const EmbCrew *crew, int32_t n_pieces, EmbPiece piece, void *ctx);
extern void emb_crew_leave(EmbCrew *crew);

/* Ends and joins the threads; a later join starts new ones. Not while a crew is in use. */
extern void emb_crew_stop(void);

#endif
