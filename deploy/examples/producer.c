/* A producer of tasks in C with hiredis, by the contract in docs/queue.md.
 *
 *   cc -o producer producer.c $(pkg-config --cflags --libs hiredis)
 *   ./producer 127.0.0.1 6379 default SOURCE lh://HOST/PATH [high|normal|low]
 *
 * SOURCE is a path at the workers. Prints the task's id: the priority's first letter and the
 * entry's. A longhaul worker on any host takes it from there. */
#include <hiredis/hiredis.h>

#include <stdio.h>
#include <stdlib.h>

/* Returns the reply, to be freed, or NULL after saying why not. */
static redisReply *add_task(redisContext *redis, const char *queue, const char *priority,
                            const char *source, const char *destination)
{
    redisReply *reply;
    char key[512];

    /* The braces put all keys of a queue into one slot of a Redis Cluster. */
    snprintf(key, sizeof(key), "longhaul:{%s}:tasks:%s", queue, priority);
    /* A '*' lets Redis number the entry. Paths may hold spaces: each %s is one argument whatever
     * it holds. "retries 3" shows how a task carries more than it must. */
    reply = redisCommand(redis, "XADD %s * v 1 source %s destination %s retries %s", key, source,
                         destination, "3");
    if (reply == NULL) {
        fprintf(stderr, "producer: %s\n", redis->errstr);
        return NULL;
    }
    if (reply->type != REDIS_REPLY_STRING) {
        fprintf(stderr, "producer: Redis says: %s\n",
                reply->type == REDIS_REPLY_ERROR ? reply->str : "something unexpected");
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

int main(int argc, char **argv)
{
    const char *priority = argc > 6 ? argv[6] : "normal";
    redisContext *redis;
    redisReply *entry;

    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: %s HOST PORT QUEUE SOURCE lh://HOST/PATH [high|normal|low]\n",
                argv[0]);
        return 2;
    }
    redis = redisConnect(argv[1], atoi(argv[2]));
    if (redis == NULL || redis->err != 0) {
        fprintf(stderr, "producer: %s\n", redis != NULL ? redis->errstr : "out of memory");
        redisFree(redis);
        return 1;
    }
    entry = add_task(redis, argv[3], priority, argv[4], argv[5]);
    redisFree(redis);
    if (entry == NULL)
        return 1;
    printf("%c%s\n", priority[0], entry->str);
    freeReplyObject(entry);
    return 0;
}
