#include "tools/bench/flight.h"

#include "engine/base/cleanup.h"

struct flight *flight_begin(struct flight *flight, unsigned limit)
{
	pthread_mutex_lock(&flight->lock);
	while (flight->out >= limit)
		pthread_cond_wait(&flight->change, &flight->lock);
	flight->out++;
	pthread_mutex_unlock(&flight->lock);
	return flight;
}

void flight_end(struct flight *flight, bool good)
{
	pthread_mutex_lock(&flight->lock);
	flight->out--;
	flight->failed += !good;
	pthread_cond_signal(&flight->change);
	pthread_mutex_unlock(&flight->lock);
}

bool flight_land(struct flight *flight)
{
	WITH_LOCK(&flight->lock);
	while (flight->out > 0)
		pthread_cond_wait(&flight->change, &flight->lock);
	return flight->failed == 0;
}
