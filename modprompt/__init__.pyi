"""What `modprompt` gives, for type checkers and editors; __init__.py imports it when it is asked for."""

from modprompt.clips.load import load_clip as load_clip
from modprompt.engine.schedule import Schedule as Schedule
from modprompt.engine.schedule import Schedules as Schedules
from modprompt.errors import SettingError as SettingError
from modprompt.errors import UserError as UserError
from modprompt.methods.alvlm import ALVLM as ALVLM
from modprompt.methods.base import Method as Method
from modprompt.methods.clip_adapter import CLIP_Adapter as CLIP_Adapter
from modprompt.methods.cocoop import CoCoOp as CoCoOp
from modprompt.methods.coop import CoOp as CoOp
from modprompt.methods.dpl import DPL as DPL
from modprompt.methods.dpl_search import DPLSearch as DPLSearch
from modprompt.methods.ivlp import IVLP as IVLP
from modprompt.methods.loading import load as load
from modprompt.methods.maple import MaPLe as MaPLe
from modprompt.methods.model import PromptedModel as PromptedModel
from modprompt.methods.mpl import MPL as MPL
from modprompt.methods.promptsrc import PromptSRC as PromptSRC
from modprompt.methods.search import Search as Search
from modprompt.methods.taskres import TaskRes as TaskRes
from modprompt.methods.tip_adapter import TipAdapter as TipAdapter
from modprompt.methods.tip_adapter import TipAdapterF as TipAdapterF
from modprompt.methods.vpt import VPT as VPT
from modprompt.methods.zeroshot import ZeroshotCLIP as ZeroshotCLIP
from modprompt.methods.zeroshot import ZeroshotCLIP2 as ZeroshotCLIP2
from modprompt.version import __version__ as __version__
