"""Whether the library of Standard Webhooks accepts a request: {"secret": …, "headers": {…}, "body": …} on stdin."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

asked = json.load(sys.stdin)
try:
    Webhook(asked["secret"]).verify(asked["body"].encode(), asked["headers"])
except WebhookVerificationError as error:
    sys.exit(f"refused: {error}")
print("verified")
