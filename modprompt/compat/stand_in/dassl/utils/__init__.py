"""Registry, files, logs, meters, checkpoints and random numbers."""

from dassl.utils.checkpoints import (  # noqa: F401
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)
from dassl.utils.logger import Logger, setup_logger  # noqa: F401
from dassl.utils.meters import AverageMeter, MetricMeter  # noqa: F401
from dassl.utils.tools import (  # noqa: F401
    Registry,
    check_availability,
    check_isfile,
    collect_env_info,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    read_json,
    set_random_seed,
    write_json,
)
