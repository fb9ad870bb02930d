"""What a candidate brings: files of tensors in other people's names and layouts, read as vitref's taps."""

from vitref.verify.candidate.candidate import Candidate
from vitref.verify.candidate.names import Rule, library_of, rule
from vitref.verify.candidate.opening import extras, open_candidate, propose

__all__ = ["Candidate", "Rule", "extras", "library_of", "open_candidate", "propose", "rule"]
