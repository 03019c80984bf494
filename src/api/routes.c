#include "api/routes.h"

#define GET    HTTP_GET_
#define POST   HTTP_POST_
#define PUT    HTTP_PUT_
#define DELETE HTTP_DELETE_

/* The five routes that every kind of definition has. */
#define DEFINITION(plural, one, Noun, Id)                                                          \
    {GET,           "/v1/" plural,  ACTION_LOOK, BODY_NONE, QUERY_PAGE, define_list,               \
     "list" Id "s", "List " plural, 200,         NULL,      Noun "List"},                          \
        {POST, "/v1/" plural, ACTION_DEFINE, BODY_JSON,                                            \
         0,    define_post,   "create" Id,   "Create a " one "; refused when it exists",           \
         201,  Noun,          Noun},                                                               \
        {GET,      "/v1/" plural "/{" one "}",          ACTION_LOOK, BODY_NONE, 0,   define_get,   \
         "get" Id, "Definition and counters of a " one, 200,         NULL,      Noun},             \
        {PUT,      "/v1/" plural "/{" one "}", ACTION_DEFINE, BODY_JSON, 0,   define_put,          \
         "put" Id, "Create or replace a " one, 200,           Noun,      Noun},                    \
    {                                                                                              \
        DELETE, "/v1/" plural "/{" one "}", ACTION_REMOVE, BODY_NONE, 0, define_delete,            \
            "delete" Id, "Delete a " one " that is not in use", 204, NULL, NULL                    \
    }

const struct route api_routes[] = {
    DEFINITION("queues", "queue", "Queue", "Queue"),
    {POST, "/v1/queues/{queue}:pause", ACTION_OPERATE, BODY_NONE, 0, queue_pause, "pauseQueue",
     "Nothing leaves the queue", 200, NULL, "Switch"},
    {POST, "/v1/queues/{queue}:resume", ACTION_OPERATE, BODY_NONE, 0, queue_resume, "resumeQueue",
     "Messages leave the queue again", 200, NULL, "Switch"},
    {POST, "/v1/queues/{queue}:purge", ACTION_OPERATE, BODY_NONE, QUERY_FILTER, purge_queue,
     "purgeQueue", "Drop all messages but those under way", 200, NULL, "Purged"},
    {POST, "/v1/queues/{queue}:redrive", ACTION_OPERATE, BODY_NONE, 0, queue_redrive,
     "redriveQueue", "Send all dead letters again", 200, NULL, "Redriven"},
    {POST, "/v1/queues/{queue}/messages", ACTION_SUBMIT, BODY_ANY, 0, queue_publish,
     "publishMessage", "Publish a message: the body is the payload", 202, "Payload", "Receipt"},
    {GET, "/v1/queues/{queue}/messages", ACTION_BROWSE, BODY_NONE,
     QUERY_PAGE | QUERY_FILTER | QUERY_MATCH, messages_list, "listMessages",
     "List or search messages without consuming them", 200, NULL, "MessageList"},
    {GET, "/v1/queues/{queue}/messages/{message}", ACTION_BROWSE, BODY_NONE, QUERY_VIEW,
     message_get, "getMessage", "A message; view=full with its body, view=body only that", 200,
     NULL, "Message"},
    {PUT, "/v1/queues/{queue}/messages/{message}", ACTION_OPERATE, BODY_ANY, QUERY_KEEP,
     message_edit, "editMessage", "Give a message that is not under way another body and header",
     200, "Payload", "Edited"},
    {POST, "/v1/queues/{queue}/messages/{message}:move", ACTION_OPERATE, BODY_JSON, 0,
     message_transfer, "moveMessage", "Move a message that is not under way to another queue", 200,
     "MoveInput", "Moved"},
    {DELETE, "/v1/queues/{queue}/messages/{message}", ACTION_TAKE, BODY_NONE, QUERY_REASON,
     message_delete, "deleteMessage", "Delete a message that is not under way", 204, NULL, NULL},
    {POST, "/v1/queues/{queue}/messages/{message}:redrive", ACTION_OPERATE, BODY_NONE, 0,
     message_redrive, "redriveMessage", "Send a dead letter again", 200, NULL, "Redriven"},

    {POST, "/v1/queues/{queue}/jobs", ACTION_OPERATE, BODY_JSON, 0, job_start, "startJob",
     "Redrive, move or discard many messages at a pace", 202, "JobInput", "Job"},
    {GET, "/v1/queues/{queue}/jobs", ACTION_LOOK, BODY_NONE, QUERY_PAGE, job_list, "listJobs",
     "Jobs that run or ran, the latest first", 200, NULL, "JobList"},
    {GET, "/v1/queues/{queue}/jobs/{job}", ACTION_LOOK, BODY_NONE, 0, job_get, "getJob",
     "How far a job is", 200, NULL, "Job"},
    {POST, "/v1/queues/{queue}/jobs/{job}:cancel", ACTION_OPERATE, BODY_NONE, 0, job_cancel,
     "cancelJob", "End a job; what it did stays done", 200, NULL, "JobCancelled"},

    DEFINITION("stocks", "stock", "Stock", "Stock"),
    {POST, "/v1/stocks/{stock}/reservations", ACTION_SUBMIT, BODY_JSON, 0, reservation_post,
     "reserve", "Take a unit", 201, "ReservationInput", "Reservation"},
    {GET, "/v1/stocks/{stock}/reservations/{purchase}", ACTION_FOLLOW, BODY_NONE, 0,
     reservation_get, "getReservation", "A reservation by its purchase number", 200, NULL,
     "Reservation"},
    {DELETE, "/v1/stocks/{stock}/reservations/{purchase}", ACTION_SUBMIT, BODY_NONE, 0,
     reservation_delete, "release", "Give the unit back; may come before the purchase", 204, NULL,
     NULL},
    {POST, "/v1/stocks/{stock}/reservations/{purchase}:confirm", ACTION_SUBMIT, BODY_NONE, 0,
     reservation_confirm, "confirm", "Make a held reservation final", 200, NULL, "Reservation"},

    DEFINITION("campaigns", "campaign", "Campaign", "Campaign"),
    {POST, "/v1/campaigns/{campaign}/entries", ACTION_SUBMIT, BODY_JSON, 0, campaign_enter, "enter",
     "Enter: the body names the member", 202, "Payload", "Receipt"},
    {GET, "/v1/campaigns/{campaign}/entries", ACTION_BROWSE, BODY_NONE, QUERY_PAGE,
     campaign_entries, "listEntries", "Entries in order of acceptance", 200, NULL, "EntryList"},
    {GET, "/v1/campaigns/{campaign}/entries/{member}", ACTION_FOLLOW, BODY_NONE, 0, campaign_entry,
     "getEntry", "The entry of a member", 200, NULL, "Entry"},

    DEFINITION("destinations", "destination", "Destination", "Destination"),
    {POST, "/v1/destinations/{destination}:pause", ACTION_OPERATE, BODY_NONE, 0, destination_pause,
     "pauseDestination", "Start no attempts", 200, NULL, "Switch"},
    {POST, "/v1/destinations/{destination}:resume", ACTION_OPERATE, BODY_NONE, 0,
     destination_resume, "resumeDestination", "Start attempts again", 200, NULL, "Switch"},
    {POST, "/v1/destinations/{destination}:open", ACTION_OPERATE, BODY_NONE, 0, destination_open,
     "openBreaker", "Open the breaker until somebody closes it", 200, NULL, "Acted"},
    {POST, "/v1/destinations/{destination}:close", ACTION_OPERATE, BODY_NONE, 0, destination_close,
     "closeBreaker", "Close the breaker, and send although Retry-After asked for time", 200, NULL,
     "Acted"},
    {POST, "/v1/destinations/{destination}:failover", ACTION_OPERATE, BODY_NONE, 0,
     destination_failover, "failOver", "Send by the second destination until somebody returns", 200,
     NULL, "Acted"},
    {POST, "/v1/destinations/{destination}:return", ACTION_OPERATE, BODY_NONE, 0,
     destination_return, "returnDestination", "Send by the first destination again", 200, NULL,
     "Acted"},
    {POST, "/v1/destinations/{destination}/endpoints/{endpoint}:eject", ACTION_OPERATE, BODY_NONE,
     0, endpoint_eject, "ejectEndpoint", "Send nothing to the endpoint", 200, NULL, "Acted"},
    {POST, "/v1/destinations/{destination}/endpoints/{endpoint}:return", ACTION_OPERATE, BODY_NONE,
     0, endpoint_return, "returnEndpoint", "Send to the endpoint again", 200, NULL, "Acted"},

    {GET, "/v1/receipts/{receipt}", ACTION_FOLLOW, BODY_NONE, 0, receipt_show, "getReceipt",
     "What became of an accepted request", 200, NULL, "ReceiptState"},
    {POST, "/v1/receipts/{receipt}/confirmation", ACTION_SUBMIT, BODY_JSON, 0, receipt_confirm,
     "confirmReceipt", "What became of a message that its destination took", 200, "Confirmation",
     "Confirmed"},
    {POST, "/v1/receipts/{receipt}/confirmation/{signature}", ACTION_OPEN, BODY_JSON, 0,
     receipt_confirm, "callBack", "The same, by the path that the request brought", 200,
     "Confirmation", "Confirmed"},
    {POST, "/v1/transactions", ACTION_SUBMIT, BODY_JSON, 0, transaction_post, "transact",
     "Up to 64 operations, all or nothing", 202, "Transaction", "TransactionReceipt"},
    {GET, "/v1/events", ACTION_OVERSEE, BODY_NONE, 0, system_events, "watch",
     "All counters four times a second, as server-sent events", 200, NULL, "Events"},
    {GET, "/v1/audit", ACTION_AUDIT, BODY_NONE, QUERY_PAGE, audit_list, "listAudit",
     "Administrative actions, the latest first", 200, NULL, "AuditList"},
    {POST, "/v1/noop", ACTION_PING, BODY_ANY, 0, system_noop, "noop",
     "Does nothing: what HTTP alone costs", 200, "Payload", "Nothing"},

    {GET, "/healthz", ACTION_OPEN, BODY_NONE, 0, system_health, "health", "The process is alive",
     200, NULL, "Health"},
    {GET, "/readyz", ACTION_OPEN, BODY_NONE, 0, system_ready, "ready",
     "Requests are accepted, or why not", 200, NULL, "Ready"},
    {GET, "/metrics", ACTION_OVERSEE, BODY_NONE, 0, system_metrics, "metrics", "Prometheus metrics",
     200, NULL, "Text"},
    {GET, "/openapi.json", ACTION_OPEN, BODY_NONE, 0, system_openapi, "openapi", "This description",
     200, NULL, "OpenApi"},
    {GET, "/problems/{problem}", ACTION_OPEN, BODY_NONE, 0, system_problem, "problem",
     "What a problem type means and what to do next", 200, NULL, "Text"},
    {GET, "/", ACTION_OPEN, BODY_NONE, 0, system_console, "console", "The console", 200, NULL,
     "Text"},
    {GET, "/assets/{file}", ACTION_OPEN, BODY_NONE, 0, system_asset, "asset",
     "Files of the console", 200, NULL, "Text"},
};
const size_t api_route_count = ARRAY_LENGTH(api_routes);
